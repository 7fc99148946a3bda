import re
from pathlib import Path

import brotli
import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command

from apps.ui.finders import PLOTLY_NAME, PlotlyFinder
from apps.ui.storage import PatientCompressor

UI = Path(__file__).resolve().parents[2] / "static" / "ui"
# Ten kilobytes arrive in the first round trip of a connection.
STYLE_BUDGET_BYTES = 10_000


def test_all_styles_together_fit_their_budget():
    sizes = {path.name: len(brotli.compress(path.read_bytes())) for path in UI.glob("*.css")}

    assert sum(sizes.values()) < STYLE_BUDGET_BYTES, sizes


def test_our_styles_and_script_load_nothing_from_elsewhere():
    text = "".join(path.read_text() for path in [*UI.glob("*.css"), *UI.glob("*.js")])

    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org)", text)


def test_our_script_needs_no_eval():
    assert not re.search(
        r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", (UI / "app.js").read_text()
    )


def test_plotly_css_holds_every_rule_that_the_bundle_would_inject(settings):
    bundle = Path(settings.PLOTLY_BUNDLE).read_text()
    end = bundle.index('.replace(/X/g,".js-plotly-plot .plotly")')
    rules = bundle[bundle.rindex("={", 0, bundle.rindex("};for(", 0, end)) + 2 : end]
    # "selector":"body" or "selector":'body'
    selectors = re.findall(r'"([^"]+)":(?:"[^"]*"|\'[^\']*\')', rules.split("};for(")[0])

    ours = (UI / "plotly.css").read_text()
    wanted = [name.replace("X", ".js-plotly-plot .plotly").replace("Y", ".plotly-notifier") for name in selectors]

    assert len(wanted) > 50
    assert [selector for selector in wanted if f"{selector}{{" not in ours] == []


def test_one_file_of_the_plotly_wheel_is_served_and_no_other(settings):
    assert finders.find(PLOTLY_NAME) == settings.PLOTLY_BUNDLE
    assert [name for name, _ in PlotlyFinder().list(None)] == [PLOTLY_NAME]
    assert not finders.find("ui/widgetbundle.js")
    assert not finders.find("ui/../ui/package_data/plotly.min.js")


@pytest.mark.parametrize(("size", "best"), [(1_000, True), (300_000, False)])
def test_large_files_are_compressed_quickly_and_small_ones_well(size, best):
    data = bytes(range(256)) * (size // 256) + UI.joinpath("app.css").read_bytes()

    assert (PatientCompressor.compress_brotli(data) == brotli.compress(data, quality=11)) == best


def test_collected_names_carry_their_hash(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "apps.ui.storage.HashedStaticFiles"},
    }
    from django.contrib.staticfiles.storage import staticfiles_storage
    from django.core.files.storage import storages

    before = storages.create_storage(settings.STORAGES["staticfiles"]).stored_name("ui/app.css")
    call_command("collectstatic", interactive=False, verbosity=0)
    after = storages.create_storage(settings.STORAGES["staticfiles"]).stored_name("ui/app.css")

    assert before == "ui/app.css"
    assert re.fullmatch(r"ui/app\.[0-9a-f]{12}\.css", after)
    assert (tmp_path / f"{after}.br").exists()
    assert staticfiles_storage is not None
