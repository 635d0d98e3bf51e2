"""A matrix in five forms. Imports nothing, because help texts name them."""

FORMS = ("terminal", "md", "latex", "csv", "html")
