from datetime import UTC, datetime, timedelta

import pytest
from django import forms
from django.template import Context, Template
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from apps.ui import panels as registry
from apps.ui.templatetags import ui

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVIL = '"><script>alert(1)</script>'


def draw(source, **context):
    return Template(source).render(Context(context))


@pytest.mark.parametrize("status", ["ok", "warn", "bad", "wait", "idle"])
def test_a_chip_shows_shape_word_and_colour(status):
    html = ui.chip(status, "Some word")

    assert f'data-status="{status}"' in html
    assert "<svg" in html
    assert "Some word" in html


def test_a_chip_refuses_a_sixth_status():
    with pytest.raises(ValueError, match="five statuses"):
        ui.chip("blue", "Informed")


def test_an_icon_is_hidden_from_screen_readers():
    assert 'aria-hidden="true"' in ui.icon("check")


@pytest.mark.parametrize(
    "source",
    [
        '{% chip "ok" evil %}',
        "{% spark points evil %}",
        "{% budget_bar 0.5 evil %}",
        "{% initials evil %}",
        "{% kbd evil %}",
        "{% chart evil src=evil %}",
        "{% query_replace page=evil %}",
        "{% htmx_headers evil %}",
    ],
)
def test_an_atom_escapes_what_it_is_given(source):
    html = draw(source, evil=EVIL, points=[1, 2])

    assert "<script" not in html


@pytest.mark.parametrize(
    ("passed", "words", "short"),
    [
        (timedelta(seconds=59), "just now", "now"),
        (timedelta(minutes=1), "1 m ago", "1 m"),
        (timedelta(minutes=59, seconds=59), "59 m ago", "59 m"),
        (timedelta(hours=23, minutes=59), "23 h ago", "23 h"),
        (timedelta(days=29), "29 d ago", "29 d"),
        (timedelta(days=30), "30 Jan 2026", "30 Jan 2026"),
    ],
)
def test_it_says_how_long_ago(passed, words, short):
    assert f">{words}</time>" in ui.ago(NOW - passed, now=NOW)
    assert f">{short}</time>" in ui.ago(NOW - passed, short=True, now=NOW)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(minutes=13), "13 m left"),
        (timedelta(seconds=59), "under 1 m left"),
        (timedelta(0), "under 1 m left"),
        (timedelta(seconds=-59), "overdue"),
        (timedelta(minutes=-1), "overdue 1 m"),
        (timedelta(hours=-5), "overdue 5 h"),
    ],
)
def test_it_says_how_much_time_is_left(left, words):
    assert f">{words}</time>" in ui.until(NOW + left, now=NOW)


def test_a_relative_time_carries_the_absolute_one():
    html = ui.ago(NOW, now=NOW)

    assert 'datetime="2026-03-01T12:00:00+00:00"' in html
    assert 'title="2026-03-01 12:00 UTC"' in html


@pytest.mark.parametrize("tag", [ui.ago, ui.until, ui.moment])
def test_an_unknown_time_is_a_dash(tag):
    assert tag(None) == ui.UNKNOWN


def test_a_countdown_tells_the_server_clock_along():
    html = ui.countdown(NOW + timedelta(seconds=8), now=NOW)

    assert "8 s</time>" in html
    assert f'data-now="{NOW.isoformat()}"' in html


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ui.UNKNOWN),
        (0, "0 ms"),
        (0.85, "850 ms"),
        (12, "12 s"),
        (60, "1 m"),
        (65, "1 m 5 s"),
        (timedelta(hours=4, minutes=12), "4 h 12 m"),
        (timedelta(days=2, hours=3, minutes=50), "2 d 3 h"),
        (-90, f"{ui.MINUS}1 m 30 s"),
    ],
)
def test_a_duration_has_two_units_at_most(value, words):
    assert ui.duration(value) == words


@pytest.mark.parametrize(
    ("share", "digits", "words"),
    [
        (None, 0, ui.UNKNOWN),
        (0, 0, "0%"),
        (1, 0, "100%"),
        (0.71, 0, "71%"),
        (0.9996, 0, ">99%"),
        (0.9996, 2, "99.96%"),
        (0.999996, 2, ">99.99%"),
        (0.002, 0, "<1%"),
        (-0.04, 0, f"{ui.MINUS}4%"),
        (1.5, 0, "150%"),
    ],
)
def test_a_percentage_never_rounds_into_a_claim(share, digits, words):
    assert ui.percent(share, digits) == words


@given(st.floats(0, 1), st.integers(0, 3))
def test_only_a_full_share_reads_as_everything_and_only_none_as_nothing(share, digits):
    text = ui.percent(share, digits)

    assert (float(text.strip("<>%")) == 100) == (share == 1)
    assert text.startswith("0") == (share == 0) or text.startswith("0.")


def test_a_gap_splits_a_sparkline():
    assert ui.spark([1, 2, None, 3], "label").count("<polyline") == 2


@given(st.lists(st.none() | st.floats(-1e9, 1e9), max_size=40))
def test_a_sparkline_stays_inside_its_box(points):
    html = ui.spark(points, "label")

    pairs = [pair.split(",") for part in html.split('points="')[1:] for pair in part.split('"')[0].split()]
    assert all(0 <= float(x) <= 96 and 0 <= float(y) <= 24 for x, y in pairs)


@pytest.mark.parametrize(
    ("share", "width", "status"), [(0.34, "34.0", ""), (1.7, "100.0", ""), (-0.04, "0.0", "bad"), (None, "0.0", "idle")]
)
def test_a_budget_bar_shows_what_is_left(share, width, status):
    html = ui.budget_bar(share, "left")

    assert f'class="fill" width="{width}"' in html
    assert (f'data-status="{status}"' in html) == bool(status)


def test_a_query_is_rebuilt_with_one_value_replaced():
    request = RequestFactory().get("/?q=a%26b&page=3")

    assert draw("{% query_replace page=4 %}", request=request) == "?q=a%26b&amp;page=4"
    assert draw("{% query_replace page=None %}", request=request) == "?q=a%26b"


class Wrong(forms.Form):
    name = forms.CharField(help_text="As people call it.")
    agreed = forms.BooleanField()
    risk = forms.ChoiceField(choices=[("low", "Low")], widget=forms.RadioSelect)


def test_a_field_tells_its_hint_and_its_error_to_a_screen_reader():
    html = draw("{% field form.name %}", form=Wrong({}))

    assert 'aria-describedby="id_name_hint id_name_error"' in html
    assert 'aria-invalid="true"' in html
    assert 'id="id_name_error"' in html
    assert '<label for="id_name">' in html


def test_a_group_of_choices_is_a_fieldset_with_a_legend():
    html = draw("{% field form.risk %}", form=Wrong())

    assert "<fieldset" in html
    assert "<legend>Risk" in html


def test_panels_of_a_slot_load_when_they_are_seen(monkeypatch):
    monkeypatch.setitem(registry._panels, "exhibit", [registry.Panel("Sign <in>", "ui:gallery")])

    html = draw('{% panels "exhibit" %}')

    assert 'hx-get="/ui/" hx-trigger="revealed"' in html
    assert "<noscript>" in html
    assert "Sign &lt;in&gt;" in html
