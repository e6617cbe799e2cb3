import sys

# jsonschema, which nbformat imports, spends three seconds on it, for a format that no notebook has
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
