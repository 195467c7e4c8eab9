"""Names of files and folders made of what readers call things."""


def slug(text: str) -> str:
    """Letters, digits, dots and underscores as they are, everything between them as one hyphen; may be empty.

    >>> slug("beam 5, T=2/α=0.3")
    'beam-5-T-2-α-0.3'
    """
    return "-".join("".join(sign if sign.isalnum() or sign in "._" else " " for sign in text).split())
