"""Figures that everybody can read, and widgets that answer at once."""

import asyncio
import builtins
import subprocess
import sys
import time
from io import BytesIO
from itertools import combinations

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from PIL import Image
from skimage.color import rgb2lab

from canvaslab.lab import display, metrics, plots, widgets
from canvaslab.lab.export import AltText
from canvaslab.lab.widgets import choice, explore, slider

# Machado, Oliveira and Fernandes 2009, table 1, severity 1: what a complete lack of one cone leaves of linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def seen(colour, vision):
    """CIELAB of a colour as this vision sees it."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(VISION[vision] @ linear, 0, 1)
    rgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(rgb[None, None])[0, 0]


@pytest.mark.parametrize("vision", VISION)
def test_all_pairs_of_colours_differ_by_15_in_cielab_and_from_paper_by_35(vision):
    labs = [seen(colour, vision) for colour in plots.PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in combinations(labs, 2)) >= 15
    assert min(np.linalg.norm(a - seen("white", vision)) for a in labs) >= 35


@pytest.mark.parametrize("vision", VISION)
def test_the_colour_map_grows_lighter_throughout(vision):
    lightness = [seen(c, vision)[0] for c in mpl.colormaps[plots.SEQUENTIAL](np.linspace(0, 1, 32))]
    assert np.all(np.diff(lightness) > 0)


@pytest.fixture
def shown(monkeypatch):
    """(bundle, metadata) of everything shown."""
    out = []
    monkeypatch.setattr(display, "publish", lambda bundle, metadata=None: out.append((bundle, metadata)))
    return out


def decoded(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("template", ["lab", "classic", "reveal"])
def test_alt_text_lands_in_the_metadata_and_in_exported_html(shown, template):
    fig, _ = plots.figure()
    plots.show(fig, alt='Two modes, "left" & right')
    bundle, metadata = shown[0]
    assert metadata["image/png"]["alt"] == metadata["alt"] == 'Two modes, "left" & right'
    output = nbformat.v4.new_output("display_data", data=bundle, metadata=metadata)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    page, _ = HTMLExporter(template_name=template, preprocessors=[AltText]).from_notebook_node(nb)
    assert [image["alt"] for image in BeautifulSoup(page, "html.parser").select("img")] == ['Two modes, "left" & right']


@pytest.mark.parametrize("alt", ["", "  ", "plot", None])
def test_a_figure_without_a_sentence_of_alt_text_is_refused(shown, alt):
    with pytest.raises(ValueError, match="sentence"):
        plots.show(plots.figure()[0], alt=alt)
    assert not shown


def test_plots_leave_matplotlibs_settings_alone_and_ignore_the_readers_own():
    plain = plots.png(plots.figure()[0])
    with mpl.rc_context({"font.size": 40, "axes.facecolor": "red", "lines.linewidth": 30}):
        before = dict(mpl.rcParams)
        fig, ax = plots.figure()
        assert plots.png(fig) == plain
        plots.losses(ax, [1.0, 0.5])
        plots.label(ax, "t", "x", "y")
        assert ax.title.get_fontsize() == plots.STYLE["axes.titlesize"]
        assert dict(mpl.rcParams) == before


def test_the_small_file_shows_the_same_picture_in_fewer_bytes():
    fig, ax = plots.figure()
    plots.trajectories(ax, torch.randn(30, 20, 2, generator=torch.manual_seed(0)).cumsum(0))
    full, small = plots.png(fig), plots.png(fig, small=True)
    assert len(small) < 0.6 * len(full)
    assert np.abs(decoded(full).astype(int) - decoded(small)).max() <= 16


def test_importing_the_lab_does_not_import_matplotlib_or_widgets():
    code = "import sys, canvaslab.lab; print([m for m in ('matplotlib', 'ipywidgets', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("values", "low", "high"), [((0, 1), 0.0, 1.0), ((-1, 1), -1.0, 1.0), ("uint8", 0, 255)])
def test_images_put_each_pixel_of_each_image_in_its_place(channels, values, low, high):
    n, h, w, columns, gap = 5, 3, 2, 2, 1
    dtype = torch.uint8 if values == "uint8" else torch.float32
    unit = torch.rand(n, channels, h, w, generator=torch.manual_seed(0))
    x = (low + unit * (high - low)).to(dtype)
    _, ax = plots.figure()
    plots.images(ax, x, columns, values=values, gap=gap)
    grid = np.asarray(ax.images[0].get_array())
    grid = grid[..., None] if grid.ndim == 2 else grid
    assert grid.shape == (3 * h + 2 * gap, columns * w + gap, channels)
    for i in range(n):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        tile = grid[top : top + h, left : left + w]
        assert np.allclose(tile, unit[i].permute(1, 2, 0), atol=1 / 255)
    assert np.all(grid[2 * (h + gap) :, w + gap :] == 1), "a missing image is white"


def test_images_refuse_a_range_that_is_not_theirs_and_clip_what_is_outside():
    _, ax = plots.figure()
    with pytest.raises(ValueError, match="uint8"):
        plots.images(ax, torch.zeros(1, 1, 2, 2, dtype=torch.uint8), values=(0, 1))
    with pytest.raises(ValueError, match="uint8"):
        plots.images(ax, torch.zeros(1, 1, 2, 2), values="uint8")
    with pytest.raises(ValueError, match="C = 1 or 3"):
        plots.images(ax, torch.zeros(1, 2, 2, 2), values=(0, 1))
    with pytest.raises(ValueError, match="titles"):
        plots.images(ax, torch.zeros(4, 1, 2, 2), 2, values=(0, 1), titles=["a", "b", "c"])
    plots.images(ax, torch.tensor([[[[-9.0, 9.0]]]]), values=(-1, 1))
    assert np.asarray(ax.images[0].get_array()).tolist() == [[0, 1]]


def test_a_density_of_points_and_of_a_function_agree_and_integrate_to_one():
    gaussian = torch.distributions.MultivariateNormal(torch.tensor([1.0, -0.5]), torch.tensor([[0.3, 0.1], [0.1, 0.2]]))
    torch.manual_seed(0)
    _, (left, right) = plots.figure(1, 2)
    extent, bins = (-3, 3, -3, 2), 40
    plots.density(left, gaussian.sample((200_000,)), extent, bins)
    plots.density(right, lambda x: gaussian.log_prob(x).exp(), extent, bins)
    counted, exact = (np.asarray(ax.images[0].get_array()) for ax in (left, right))
    cell = 6 * 5 / bins**2
    assert counted.sum() * cell == pytest.approx(1, abs=0.01)
    assert exact.sum() * cell == pytest.approx(1, abs=0.01)
    assert np.abs(counted - exact).sum() * cell < 0.05


def test_a_trajectory_keeps_time_and_sample_axes_apart():
    paths = torch.randn(7, 3, 2)
    _, (plane, line) = plots.figure(1, 2)
    plots.trajectories(plane, paths)
    assert np.allclose(plane.collections[0].get_segments(), paths.transpose(0, 1))
    assert np.allclose(plane.collections[1].get_offsets(), paths[-1])
    plots.trajectories(line, paths[..., 0], times=torch.arange(7) / 10)
    assert np.allclose(line.collections[0].get_segments()[2][:, 0], np.arange(7) / 10)
    assert np.allclose(line.collections[0].get_segments()[2][:, 1], paths[:, 2, 0])
    with pytest.raises(ValueError, match="times"):
        plots.trajectories(line, paths[..., 0], times=[1, 2])


def test_the_smoothed_loss_of_a_straight_line_is_that_line():
    _, ax = plots.figure()
    plots.losses(ax, np.linspace(2, 1, 101), window=5)
    raw, smooth = (line.get_xydata() for line in ax.lines)
    expected = np.interp(smooth[:, 0] - 2, raw[:, 0], raw[:, 1])  # a running mean lags by half its window
    assert np.allclose(smooth[:, 1], expected)


def test_interval_bands_cover_the_truth_in_95_of_100_experiments():
    runs = np.random.default_rng(0).normal(size=(5, 4000))
    _, ax = plots.figure()
    plots.intervals(ax, np.arange(4000), runs)
    band = ax.collections[0].get_paths()[0].vertices
    low = np.full(4000, np.inf)
    high = np.full(4000, -np.inf)
    np.minimum.at(low, band[:, 0].astype(int), band[:, 1])
    np.maximum.at(high, band[:, 0].astype(int), band[:, 1])
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.95, abs=0.015)


def test_interval_bands_are_those_of_the_metrics_room():
    runs, (_, ax) = torch.randn(5, 3), plots.figure()
    plots.intervals(ax, [1, 2, 3], runs)
    edges = ax.collections[0].get_paths()[0].vertices
    for k, (mean, half) in enumerate(metrics.interval(column) for column in runs.T):
        there = edges[edges[:, 0] == k + 1][:, 1]
        assert there.min() == pytest.approx(mean - half) and there.max() == pytest.approx(mean + half)


def test_few_seeds_are_drawn_one_by_one():
    runs, (_, ax) = torch.rand(3, 4), plots.figure()
    plots.intervals(ax, range(4), runs)
    assert not ax.collections
    drawn = sorted(tuple(line.get_ydata()) for line in ax.lines[1:])
    assert np.allclose(drawn, sorted(map(tuple, runs.numpy())))


def test_on_a_logarithmic_axis_the_interval_is_of_the_logarithm():
    runs, (_, ax) = torch.randn(6, 3).exp(), plots.figure()
    plots.logarithmic(ax, y=True)
    plots.intervals(ax, [1, 2, 3], runs)
    edges = ax.collections[0].get_paths()[0].vertices
    for k, (mean, half) in enumerate(metrics.interval(column) for column in runs.log().T):
        there = edges[edges[:, 0] == k + 1][:, 1]
        assert np.log(there.min()) == pytest.approx(mean - half) and np.log(there.max()) == pytest.approx(mean + half)


def ticks(axis):
    """Labels in view, in order."""
    axis.figure.draw_without_rendering()
    low, high = sorted(axis.get_view_interval())
    return [t.label1.get_text() for t in axis.get_major_ticks() if low <= t.get_loc() <= high]


def test_logarithmic_axes_say_numbers_as_they_are_said():
    _, axes = plots.figure(1, 3)
    for ax, low in zip(axes, (0.03, 1e-6, 0.5), strict=True):
        ax.plot([low, 40], [1, 2])
    plots.logarithmic(axes[0], x=True)
    plots.logarithmic(axes[1], x=True)
    plots.logarithmic(axes[2], x=[0.5, 3, 12])
    assert ticks(axes[0].xaxis) == ["0.1", "1", "10"] and axes[0].get_yscale() == "linear"
    assert all("10^" in text for text in ticks(axes[1].xaxis))  # 0.000001 is no plain number
    assert ticks(axes[2].xaxis) == ["0.5", "3", "12"]
    assert not any(t.get_text() for ax in axes for t in ax.get_xminorticklabels())


@pytest.mark.parametrize(("low", "high", "told"), [(0.65, 0.95, "0.7 0.8 0.9"), (1.1, 8, "2 5"), (0.9, 30, "2 5 20")])
def test_a_logarithmic_axis_with_few_decades_has_numbers_between_them(low, high, told):
    _, ax = plots.figure()
    ax.set_ylim(low, high)
    plots.logarithmic(ax, y=True)
    ax.figure.draw_without_rendering()
    minor = [t for t in ax.yaxis.get_minor_ticks() if low <= t.get_loc() <= high]
    assert [t.label1.get_text() for t in minor if t.label1.get_text()] == told.split()


def test_bfloat16_and_gradients_are_welcome():
    x = torch.randn(5, 2, dtype=torch.bfloat16, requires_grad=True)
    assert np.allclose(plots.array(x), x.detach().float())


def line(fig, slope, name="a"):
    ax = fig.subplots()
    ax.plot([0, 1], [0, slope])
    ax.set(xlim=(0, 1), ylim=(0, 5), title=name)


def made(draw=line, **change):
    call = {
        "static": [{"slope": 1.0}, {"slope": 4.0, "name": "b"}], "alt": "Lines of two slopes side by side",
        "slope": slider(0.0, 5.0, 0.1, 1.0), "name": choice(["a", "b"]), **change,
    }  # fmt: skip
    return explore(draw, **call)


def test_a_change_alters_the_picture_and_takes_less_than_200_ms(shown):
    lab = made()
    first, seconds = lab.png, []
    for value in (2.0, 3.0, 4.0, 5.0, 1.0):
        start = time.process_time()  # other work on this machine is not the widget's
        lab.controls["slope"].value = value
        seconds.append(time.process_time() - start)
        assert lab.seconds > 0
        assert (lab.png == first) == (value == 1.0), "the same values give the same bytes, others do not"
        assert lab._image.value == lab.png
    lab.controls["name"].value = "b"
    assert lab.png != first
    assert min(seconds) < 0.2


def test_the_static_strip_shows_the_same_drawing_at_each_setting(shown):
    slopes = []
    made(draw=lambda fig, slope, name: (slopes.append((slope, name)), line(fig, slope, name)))
    assert slopes == [(1.0, "a"), (1.0, "a"), (4.0, "b")], "live once, then each setting with defaults filled in"
    (bundle, metadata), = shown
    assert metadata["alt"] == "Lines of two slopes side by side"
    assert bundle["image/png"]


def test_an_error_in_the_drawing_is_shown_and_the_last_picture_stays(shown):
    def draw(fig, slope):
        line(fig, 1 / (slope - 2))

    lab = explore(draw, static=[{"slope": 1.0}], alt="A line and its slope", slope=slider(0.0, 4.0, 1.0, 1.0))
    good = lab.png
    lab.controls["slope"].value = 2.0
    assert "ZeroDivisionError" in lab.error and "slope = 2" in lab.error
    assert "ZeroDivisionError" in lab._message.value
    assert lab.png == good
    lab.controls["slope"].value = 3.0
    assert lab.error == "" == lab._message.value
    assert lab.png != good


def test_dragging_redraws_a_few_times_and_ends_at_the_last_value(shown):
    drawn = []

    def draw(fig, slope):
        drawn.append(slope)
        time.sleep(0.02)

    async def drag(lab):
        for i in range(200):
            lab.controls["slope"].value = i / 100
            await asyncio.sleep(0.001)
        await asyncio.sleep(4 * widgets.INTERVAL)

    lab = explore(draw, static=[{"slope": 1.0}], alt="Nothing is drawn here", slope=slider(0.0, 4.0, 0.01, 1.0))
    drawn.clear()
    asyncio.run(drag(lab))
    assert drawn[-1] == 1.99
    assert 2 <= len(drawn) <= 40


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"static": []}, "static"),
        ({"static": [{"slope": 9.0}]}, "0.0 to 5.0"),
        ({"static": [{"slope": True}]}, "number"),
        ({"static": [{"name": "c"}]}, "'a', 'b'"),
        ({"static": [{"slop": 1.0}]}, "no control"),
        ({"other": slider(0, 1, 1, 0)}, "takes"),
        ({"draw": lambda fig, slope, name, more: None}, "takes"),
        ({"alt": ""}, "sentence"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_what_does(shown, change, says):
    with pytest.raises(ValueError, match=says):
        made(**change)


def test_controls_check_themselves():
    for bad in ((1, 0, 0.1, 0.5), (0, 1, 0, 0.5), (0, 1, 0.1, 2)):
        with pytest.raises(ValueError, match="slider"):
            slider(*bad)
    with pytest.raises(ValueError, match="lo > 0"):
        slider(0, 1, 0.1, 0.5, log=True)
    with pytest.raises(ValueError, match="choice"):
        choice([])
    with pytest.raises(ValueError, match="'a', 'b'"):
        choice(["a", "b"], "c")


def test_sliders_keep_whole_numbers_whole_and_decades_even(shown):
    got = []
    lab = explore(
        lambda fig, n, sigma, how: got.append((n, sigma, how)), static=[{"n": 2}], alt="Nothing is drawn here",
        n=slider(1, 9, 1, 3), sigma=slider(0.01, 100, 0.5, 1.0, log=True), how=choice({"slow": 1, "fast": 10}),
    )  # fmt: skip
    lab.controls["sigma"].value = 10.0
    lab.controls["how"].value = 10
    assert got[-1] == (3, pytest.approx(10.0), 10)
    assert isinstance(got[-1][0], int)
    assert (lab.controls["sigma"].min, lab.controls["sigma"].max) == (-2, 2)


def test_without_ipywidgets_there_is_the_picture_and_a_sentence(shown, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest, **kw):
        if name == "ipywidgets":
            raise ImportError(name)
        return real(name, *rest, **kw)

    monkeypatch.setattr(builtins, "__import__", without)
    lab = made()
    assert len(shown) == 1 and lab.controls == {}
    assert "pip install ipywidgets" in capsys.readouterr().out


def test_a_new_kind_of_control_needs_three_things(shown):
    class Switch:
        value = False

        def problem(self, value):
            return "" if isinstance(value, bool) else "must be True or False"

        def widget(self):
            import ipywidgets

            return ipywidgets.Checkbox(value=self.value)

    got = []
    lab = explore(lambda fig, on: got.append(on), static=[{"on": True}], alt="Nothing is drawn here", on=Switch())
    lab.controls["on"].value = True
    assert got == [False, True, True]


def test_drawing_works_on_a_figure_of_the_readers_own():
    fig = Figure()
    line(fig, 2.0)
    assert decoded(plots.png(fig)).shape[0] == round(fig.get_size_inches()[1] * plots.DPI)
