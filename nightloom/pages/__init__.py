"""Web pages: one Jinja environment for console, reports and gates, and pictures as SVG to stand in them.

A page's template lies in a folder `templates` beside the code that fills it. What pages of gates share is in ours.
"""
