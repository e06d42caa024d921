"""A module that takes for ever to import."""

import os
import time
from pathlib import Path

Path(os.environ["TWBRIDGE_TEST_PATH"]).write_text(str(os.getpid()))
time.sleep(600)
