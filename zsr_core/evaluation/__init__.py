"""A tuned model under attack: records per image, and every number from them."""
