"""SVG Tiny Portable/Secure: what an indicator may consist of. `validate.complaint` is the way in."""
