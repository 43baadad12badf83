"""The extra `[sites]`, really installed: the engine is found, yt-dlp's scripts run in it behind the walls, and it may do nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: As `site_child.main` begins, behind the walls of `stage_child`; then what the extractor would ask for.
CODE = """
import json, resource, sys
from pathlib import Path
from pipeline_jobs.addresses import PUBLIC_PORTS
from pipeline_jobs.media import jail, site_runtime
walls = jail.enter(Path.cwd(), PUBLIC_PORTS)
from pipeline_jobs.media.site_child import Guard, options
import yt_dlp
from yt_dlp.extractor.youtube.jsc._builtin.deno import DenoJCP
from yt_dlp.extractor.youtube.pot._director import YoutubeIEContentProviderLogger
resource.setrlimit(resource.RLIMIT_DATA, (site_runtime.MEMORY_BYTES, site_runtime.MEMORY_BYTES))
sys.addaudithook(Guard(False, site_runtime.program()))
order = {"stem": "site", "height": 360, "max_bytes": 1000, "max_seconds": 10, "url": "https://www.youtube.com/watch?v=xtFiJ8AVdW0"}
with yt_dlp.YoutubeDL(options(order, print)) as downloader:
    extractor = downloader.get_info_extractor("Youtube")
    provider = DenoJCP(extractor, YoutubeIEContentProviderLogger(extractor, "jsc"), {})
    run = lambda script: provider._run_deno(script, [*DenoJCP._DENO_BASE_OPTIONS, "--no-npm", "--cached-only"])
    def solver():
        try:
            return run(provider._construct_stdin("", False, []))
        except Exception as error:
            return str(error)
    tries = {
        "net": "await Deno.connect({hostname: '127.0.0.1', port: 1})",
        "read": "Deno.readTextFileSync('/etc/passwd')", "env": "Deno.env.get('HOME')",
        "write": "Deno.writeTextFileSync('x', 'x')", "run": "new Deno.Command('/bin/true').outputSync()",
    }
    code = "const said = {};" + "".join(
        f"try {{ {code}; said.{name} = 'done' }} catch (error) {{ said.{name} = error.name }}" for name, code in tries.items()
    ) + "console.log(JSON.stringify(said))"
    scripts = [provider._lib_script, provider._core_script]
    print(json.dumps({
        "available": provider.is_available(), "said": json.loads(run(code)), "lacks": walls.missing,
        "scripts": [str(script.source) for script in scripts],
        "solver": solver(),
    }))
"""


def test_the_engine_runs_yt_dlps_scripts_behind_the_walls_and_may_do_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["available"]
    assert set(found["said"].values()) == {"NotCapable"}
    # Of a page's program without content the solver's own words: it was loaded, and ran.
    assert "unexpected structure" in found["solver"]
    assert ["PYPACKAGE" in source for source in found["scripts"]] == [True, True]
