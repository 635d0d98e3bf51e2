"""The probes: what the audit measures of a classifier, its gradients and its loss, and the attacks that it runs."""
