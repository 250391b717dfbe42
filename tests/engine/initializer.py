"""A real, small storage initializer: `python initializer.py KEPT URI FOLDER`.

What it fetches is KEPT/NAME for `models:/NAME/VERSION`, with the environment that it was given
beside it. `behaviour.json` there: `fails` (what it says as it fails), `hangs` and `nothing` (true).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

kept, uri, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
source = kept / uri.split("/")[1]
behaviour = json.loads((source / "behaviour.json").read_text())
sys.stdout.write(f"fetching {uri}\n")
(folder / "environment.json").write_text(json.dumps(dict(os.environ)))
if "fails" in behaviour:
    sys.exit(behaviour["fails"])
if behaviour.get("hangs"):
    (kept / "hanging").touch()
    time.sleep(600)
shutil.copytree(source, folder, dirs_exist_ok=True)
with (kept / "fetched").open("a") as fetched:
    fetched.write(f"{uri}\n")
if behaviour.get("nothing"):
    shutil.rmtree(folder)
    folder.mkdir()
