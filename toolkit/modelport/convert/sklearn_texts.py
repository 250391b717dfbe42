"""Words and their numbers: what skl2onnx must be told of vectorizers of texts.

By default it lets ONNX Runtime lower letters by a locale that few images have, and finds words of
ASCII letters alone.
"""

from __future__ import annotations

from typing import Any

from modelport.convert import sklearn_copies

_LOCALE = "C.UTF-8"  # which every image with glibc has
_WORDS = r"(?u)\b\w\w+\b"  # scikit-learn's default
_LETTERS = r"[\p{L}\p{N}_]+"  # the same as ONNX Runtime's regular expressions say it


def options(estimator: Any) -> dict[int, dict[str, Any]]:
    """Return skl2onnx's options of every vectorizer in a fitted estimator."""
    from sklearn.feature_extraction.text import CountVectorizer

    return {
        id(part): _told(part)
        for part in sklearn_copies.parts(estimator)
        if isinstance(part, CountVectorizer)
    }


def _told(vectorizer: Any) -> dict[str, Any]:
    if vectorizer.analyzer == "word" and vectorizer.token_pattern == _WORDS:
        return {"locale": _LOCALE, "tokenexp": _LETTERS}
    return {"locale": _LOCALE}
