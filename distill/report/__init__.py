"""One comparison as tables, figures and a page."""
