"""Running trials: options, jobs, Ray, search, progress."""
