"""Image-text retrieval of a tuned model, clean and attacked: what is asked for, how it is run, kept and measured."""
