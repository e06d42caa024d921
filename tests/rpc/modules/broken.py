"""A module that can not be imported."""

import twbridge_is_not_there  # type: ignore[import-not-found]  # noqa: F401
