"""It can be imported while the file is there that its environment names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if not Path(os.environ["BRITTLE"]).exists():
    os._exit(7)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    os._exit(3)
