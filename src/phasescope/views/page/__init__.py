"""The page that the web view and the report share: its data, its HTML, its assets.

May import `analysis`, the files of `views`, and the ground.
"""
