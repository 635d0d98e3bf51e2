"""May this robustness number be believed? Rules, probes, evidence."""
