"""Small, complete apps around a file of a bundle: one module and one folder of templates for each platform."""
