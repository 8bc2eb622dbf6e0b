"""The page of lpss-report: runs -> one HTML file with tables and charts that needs nothing beside it.

Python prepares what is shown (page.py and a file a section), a template and a style lay it out, and the page's own
JavaScript draws the charts and makes the tables sortable (assets/).
"""
