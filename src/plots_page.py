"""Write the page in which DVC shows the plots, with Vega inside: it opens without a network."""

import argparse
from pathlib import Path

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import vl_convert

from faceverify.base import files
from faceverify.runs import script

PAGE = Path(".dvc/plots/page.html")  # `plots.html_template` of .dvc/config
VEGA_LITE = "5.8"  # the oldest one of vl-convert; DVC's own page loads 5.2

HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{{refresh_tag}}
<title>Plots</title>
<style>
body {{ font-family: sans-serif; margin: 1rem; }}
svg {{ max-width: 100%; height: auto; }}
</style>
<!--
{notice}
-->
<script>
(() => {{
{vega}
const draw = window.vegaEmbed;
window.vegaEmbed = (place, spec) => draw(place, spec, {{ renderer: "svg" }});
}})();
</script>
</head>
<body>
{{plot_divs}}
</body>
</html>
"""

NOTICE = """Written by `python src/plots_page.py`. Vega, Vega-Lite and Vega-Embed:
Copyright (c) 2015, University of Washington Interactive Data Lab. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted
provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions
   and the following disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions
   and the following disclaimer in the documentation and/or other materials provided with the
   distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse
   or promote products derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE,
DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER
IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF
THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."""


def main() -> None:
    """Write the page's template."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with files.replacing(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")


def page() -> str:
    """The template: an HTML page with Vega and with the places that DVC fills."""
    vega = vl_convert.javascript_bundle(vl_version=VEGA_LITE)
    return HTML.format(notice=NOTICE, vega=vega)


if __name__ == "__main__":
    script.run(main)
