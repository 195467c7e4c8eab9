"""Names of files and folders made of what readers call things."""

from hashlib import sha256


def slug(text: str) -> str:
    """Letters, digits, dots and underscores as they are, everything between them as one hyphen; may be empty.

    >>> slug("beam 5, T=2/α=0.3")
    'beam-5-T-2-α-0.3'
    """
    return "-".join("".join(sign if sign.isalnum() or sign in "._" else " " for sign in text).split())


def shortened(name: str, most: int) -> str:
    """A name of at most so many bytes in UTF-8, which is what file systems count; longer ones end with a digest.

    >>> shortened("ééé", 6), len(shortened("é" * 200, 60).encode()) <= 60
    ('ééé', True)
    """
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) <= most:
        return name
    mark = f"-{sha256(encoded).hexdigest()[:8]}"
    return encoded[: most - len(mark)].decode("utf-8", "ignore").rstrip(".- ") + mark
