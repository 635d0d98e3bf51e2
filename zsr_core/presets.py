"""The recipes: where each number comes from, as whole TrialConfigs per method and preset."""
