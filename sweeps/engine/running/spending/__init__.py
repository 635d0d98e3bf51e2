"""When a launch ends before its plan does: a budget that is used up, or certainty that nothing better will come."""
