"""Figures of what was fitted to a field of lenslets: the target's place, its light's profile, refraction; verification.

The `verify` figure is what a person checks a spectrum by: finder, map, profile, and the spectrum with what it is
compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from nightpipe.model.classification import Classification
from nightpipe.model.cube import Cube
from nightpipe.model.references import Standard
from nightpipe.model.scene import Body, Finder, Grade, Scene
from nightpipe.model.spectrum import Spectrum
from nightpipe.plots.hexagons import hexmap, outline
from nightpipe.plots.lenslets import band_light
from nightpipe.plots.style import BLUE, GOLD, GREEN, GREY, INK, PALE, RED, added, panels

FloatArray = NDArray[np.float64]
BANDS = ((0.10, GOLD), (0.20, RED))
"""Half widths of the bands within which a standard should agree with its table."""
SMALL = 8
"""Size of the titles."""
MARK = "#19e3ff"
"""Of what marks the centre: seen on dark and on bright lenslets."""


def spaxel_map(cube: Cube, scene: Scene) -> Figure:
    """Draw the field, the lenslets that the fit used, and the target's centre."""
    figure, (axis,) = panels(1, 1, size=(6.2, 5.6))
    _map(axis, cube, scene)
    return figure


def _map(axis: Axes, cube: Cube, scene: Scene) -> None:
    light = band_light(cube, (5000.0, 7500.0))
    hexmap(axis, cube.east, cube.north, light, cmap="magma")
    axis.set_title(f"5000 to 7500 A; placed by {_placed(scene)}", fontsize=SMALL)
    if scene.used.shape == cube.east.shape:
        outline(axis, cube.east[scene.used], cube.north[scene.used], colour=GREY)
        out = ~scene.used & np.isfinite(light)
        axis.scatter(cube.east[out], cube.north[out], s=9, marker="x", lw=0.7, color=RED, zorder=4)  # though alive
    for other in scene.others:
        _ellipse(axis, other)
    _centre(axis, scene)


def _placed(scene: Scene) -> str:
    words = {"guider": "guider astrometry", "header": "the telescope's pointing", "brightest": "the brightest source",
             "person": "a person", "middle": "the field's middle"}  # fmt: skip
    return words.get(scene.place.how, scene.place.how)


def _centre(axis: Axes, scene: Scene) -> None:
    """Mark the target: a cross where astrometry led, a circle where the brightest source did, black by a person."""
    east, north, how = scene.target.east, scene.target.north, scene.place.how
    if how == "person":
        white = [withStroke(linewidth=4.5, foreground="white")]  # else it is lost where no light is
        axis.plot(east, north, "x", ms=11, mew=2.4, color="black", zorder=5, path_effects=white)
    elif how in ("guider", "header"):
        axis.plot(east, north, "+", ms=14, mew=1.6, color=MARK, zorder=5)
    else:
        axis.plot(east, north, "o", ms=11, mew=1.6, mfc="none", color=MARK, zorder=5)
    reach = 2.0 * max(scene.place.error, 0.05)
    if how != "person" and reach < 8.0:
        place = (scene.place.east, scene.place.north)
        axis.add_patch(Circle(place, reach, fill=False, ec=MARK, lw=0.7, ls=":"))


def _ellipse(axis: Axes, body: Body) -> None:
    turn = np.linspace(0.0, 2.0 * np.pi, 60)
    major, angle = max(body.radius, 0.4), np.radians(body.angle)
    along, across = major * np.cos(turn), major * body.ratio * np.sin(turn)
    axis.plot(body.east + along * np.cos(angle) - across * np.sin(angle),
              body.north + along * np.sin(angle) + across * np.cos(angle), color=GREEN, lw=0.9)  # fmt: skip
    axis.annotate(body.name, (body.east, body.north), fontsize=7, color=GREEN)


def profile(scene: Scene) -> Figure:
    """Draw the light about the target by distance: data, model, residual."""
    figure, (top, bottom) = panels(2, size=(6.5, 5.6), height_ratios=[2.2, 1], sharex=True)
    _profile(top, scene)
    top.set(xlabel="")
    bottom.errorbar(scene.radius, scene.profile - scene.profile_model, scene.profile_error, fmt=".", ms=4, color=BLUE)
    bottom.axhline(0.0, color=INK, lw=0.6)
    bottom.set(xlabel="distance from the target [arcsec]", ylabel="data - model")
    return figure


def _profile(axis: Axes, scene: Scene) -> None:
    order = np.argsort(scene.radius)
    axis.errorbar(scene.radius, scene.profile, scene.profile_error, fmt=".", ms=4, color=BLUE, label="data")
    axis.plot(scene.radius[order], scene.profile_model[order], color=RED, lw=1.2, label="model")
    axis.set(ylabel="share of the light per lenslet", xlabel="distance [arcsec]")
    top = float(np.max(scene.profile_model, initial=1e-6))
    axis.set_yscale("symlog", linthresh=1e-2 * top, linscale=0.5)  # the wings show, and what falls below nothing, too
    axis.axhline(0.0, color=PALE, lw=0.6, zorder=0)
    axis.set_title(
        f'{scene.method}: FWHM {scene.fwhm:.2f}" at {scene.reference:.0f} A, power {scene.rho:+.2f},'
        f" chi2 {scene.chi2_near:.2f}",
        fontsize=SMALL,
    )
    axis.legend()


def refraction(scene: Scene) -> Figure:
    """Draw where the target lies in each slice of wavelength, and where the air must put it."""
    figure, (sky, run) = panels(1, 2, size=(11, 4.6), width_ratios=[1.0, 1.4])
    slices = scene.slices
    sky.errorbar(slices.east, slices.north, slices.place_error[:, 1], slices.place_error[:, 0], fmt="none", ecolor=GREY)
    sky.scatter(slices.east, slices.north, c=slices.wave, cmap="turbo", s=24, zorder=3)
    sky.plot(slices.expected[:, 0], slices.expected[:, 1], color=INK, lw=1.0)
    sky.invert_xaxis()
    sky.set(xlabel="east [arcsec]", ylabel="north [arcsec]",
            title=f"airmass {scene.airmass:.3f}, parallactic angle {scene.parallactic:.1f}")  # fmt: skip
    _off(run, scene)
    return figure


def _off(axis: Axes, scene: Scene) -> None:
    """Draw how far each slice of wavelength lies from where the air puts it; a tenth of a lenslet is shaded."""
    slices = scene.slices
    for values, expected, error, colour, name in (
        (slices.east, slices.expected[:, 0], slices.place_error[:, 0], BLUE, "east"),
        (slices.north, slices.expected[:, 1], slices.place_error[:, 1], RED, "north"),
    ):
        axis.errorbar(slices.wave, values - expected, error, fmt="o", ms=4, color=colour, label=name)
    axis.axhspan(-0.0635, 0.0635, color=PALE, alpha=0.6, lw=0, zorder=0)
    axis.axhline(0.0, color=INK, lw=0.6)
    axis.set(xlabel="vacuum wavelength [A]", ylabel="measured - predicted [arcsec]")
    title = f'refraction: lift {scene.lift:.2f}" from 4000 to 9000 A, chi2 {scene.refraction_chi2:.2f}'
    axis.set_title(title, fontsize=SMALL)
    axis.legend()


def calibration_check(spectrum: Spectrum, standard: Standard) -> Figure:
    """Draw a standard's spectrum over its table, and their ratio with bands of 10 and 20%."""
    figure, (top, bottom) = panels(2, size=(9.5, 5.6), height_ratios=[1.6, 1], sharex=True)
    top.plot(spectrum.wave, np.where(spectrum.good, spectrum.flux, np.nan), color=BLUE, lw=0.9, label="this exposure")
    inside = (standard.wave > spectrum.wave[0]) & (standard.wave < spectrum.wave[-1])
    top.plot(standard.wave[inside], standard.flux[inside], color=GREY, lw=0.8, zorder=0, label=standard.name)
    top.set(ylabel=f"flux [{spectrum.unit}]")
    top.legend()
    _check(bottom, spectrum, standard)
    return figure


def _check(axis: Axes, spectrum: Spectrum, standard: Standard) -> None:
    wave, ratio = ratio_to(spectrum, standard)
    shape = float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else 1.0
    for half, colour in reversed(BANDS):
        axis.axhspan(1.0 - half, 1.0 + half, color=colour, alpha=0.15, lw=0)
    axis.axhline(1.0, color=INK, lw=0.6)
    axis.plot(wave, ratio / shape, color=BLUE, drawstyle="steps-mid", lw=0.9)
    axis.set(ylim=(0.6, 1.4), xlabel="vacuum wavelength [A]", ylabel="shape / table")
    axis.set_title(f"shape against the table; level {shape:.3f}", fontsize=SMALL)


def ratio_to(spectrum: Spectrum, standard: Standard) -> tuple[FloatArray, FloatArray]:
    """Return wavelength and the ratio of a spectrum to its star's table, that blurred as the spectrum is."""
    from nightpipe.maths.rebin import smoothed_to

    span = (standard.wave > spectrum.wave[0] - 400.0) & (standard.wave < spectrum.wave[-1] + 400.0)
    table = np.interp(spectrum.wave, standard.wave[span], standard.flux[span])
    blurred = smoothed_to(spectrum.wave, table, spectrum.fwhm)
    usable = spectrum.good & (blurred > 0)
    return spectrum.wave, np.where(usable, spectrum.flux / np.where(blurred > 0, blurred, 1.0), np.nan)


def verify(
    spectrum: Spectrum,
    scene: Scene,
    cube: Cube,
    grade: Grade,
    *,
    finder: Finder | None = None,
    standard: Standard | None = None,
    found: Classification | None = None,
) -> Figure:
    """Draw finder, map, profile and spectrum: a standard's with its calibration check, else with the best template.

    Without a classification the spectrum stands alone. A standard has no guider: refraction is in the finder's place.
    """
    figure, axes = panels(2, 3, size=(13.5, 7.6), height_ratios=[1.15, 1.0], width_ratios=[1.0, 1.0, 1.0])
    if finder is None and standard is not None:
        _off(axes[0], scene)
    else:
        _finder(axes[0], finder, cube)
    _map(axes[1], cube, scene)
    _profile(axes[2], scene)
    for axis in axes[3:]:
        axis.remove()
    figure.suptitle(_title(spectrum, grade), x=0.01, ha="left", fontsize=10)
    grid = axes[0].get_subplotspec().get_gridspec()  # type: ignore[union-attr]
    if standard is not None:
        _spectrum(added(figure, grid[1, :2]), spectrum, _over_table(standard))
        _check(added(figure, grid[1, 2]), spectrum, standard)
    else:
        _spectrum(added(figure, grid[1, :]), spectrum, None if found is None else _over_template(found))
    return figure


def _finder(axis: Axes, finder: Finder | None, cube: Cube) -> None:
    """Draw the rainbow camera's stack about the target, the lenslets' field upon it."""
    if finder is None:
        axis.text(
            0.5,
            0.5,
            "no finder: the guider took no images",
            ha="center",
            va="center",
            transform=axis.transAxes,
            color=GREY,
        )
        axis.set_axis_off()
        return
    reach = finder.reach
    edges = (reach, -reach, -reach, reach)
    shown = np.arcsinh(finder.image)
    low, high = np.nanpercentile(shown, [10.0, 99.5]) if np.isfinite(shown).any() else (0.0, 1.0)
    axis.imshow(shown, extent=edges, origin="lower", cmap="Greys", vmin=low, vmax=high)
    axis.set_facecolor(PALE)  # where no quadrant looks
    corners = np.column_stack([cube.east, cube.north])
    hull = corners[ConvexHull(corners).vertices] + (finder.east, finder.north)
    axis.add_patch(Polygon(hull, fill=False, ec=BLUE, lw=0.9))
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):  # open in the middle, where the target is
        axis.plot([2.5 * x, 9.0 * x], [2.5 * y, 9.0 * y], color=RED, lw=1.2)
    axis.set(
        xlabel="east [arcsec]", ylabel="north [arcsec]", aspect="equal", xlim=(reach, -reach), ylim=(-reach, reach)
    )
    white = [withStroke(linewidth=3, foreground="white")]
    for name, (x, y) in {"N": (0, 1), "E": (-1, 0)}.items():
        tip, foot = (0.93 + 0.09 * x, 0.06 + 0.09 * y), (0.93, 0.06)
        axis.annotate("", tip, foot, "axes fraction", "axes fraction", arrowprops={"arrowstyle": "->", "color": RED})
        axis.annotate(name, (0.93 + 0.12 * x, 0.06 + 0.12 * y), xycoords="axes fraction", ha="center", va="center",
                      fontsize=SMALL, color=RED, path_effects=white)  # fmt: skip
    count = f"{finder.frames} frame{'s' if finder.frames != 1 else ''} of the guider"
    axis.set_title(f"finder: {count}, {finder.solved}", fontsize=SMALL)


def _spectrum(axis: Axes, spectrum: Spectrum, more: Callable[[Axes], None] | None) -> None:
    good = spectrum.good
    flux, error = np.where(good, spectrum.flux, np.nan), np.where(good, spectrum.err, np.nan)
    axis.fill_between(spectrum.wave, flux - error, flux + error, color=BLUE, alpha=0.2, lw=0, step="mid")
    axis.plot(spectrum.wave, flux, color=BLUE, drawstyle="steps-mid", lw=0.9)
    if good.any():
        low, high = np.nanpercentile(flux, [0.5, 99.5])
        pad = 0.15 * max(high - low, 1e-30)
        axis.set(ylim=(min(low - pad, 0.0), high + 2 * pad), xlim=(spectrum.wave[good][0], spectrum.wave[good][-1]))
    if more is not None:
        more(axis)
        axis.legend(loc="upper right", fontsize=8)
    axis.set(xlabel="vacuum wavelength [A]", ylabel=f"flux [{spectrum.unit}]")


def _over_table(standard: Standard) -> Callable[[Axes], None]:
    def draw(axis: Axes) -> None:
        low, high = axis.get_xlim()
        inside = (standard.wave > low) & (standard.wave < high)
        axis.plot(standard.wave[inside], standard.flux[inside], color=GREY, lw=0.8, zorder=0, label=standard.name)

    return draw


def _over_template(found: Classification) -> Callable[[Axes], None]:
    def draw(axis: Axes) -> None:
        from nightpipe.maths.air import to_vacuum
        from nightpipe.plots.classify import as_seen

        if found.overlays and found.answered:
            best = found.overlays[0]
            label = f"{found.summary}: {best.label}"
            axis.plot(to_vacuum(best.wave), as_seen(best, found.wave), color=RED, lw=1.0, label=label)

    return draw


def _title(spectrum: Spectrum, grade: Grade) -> str:
    exposure = spectrum.exposure
    where = f"{exposure.target}   {exposure.name}   {exposure.exptime:.0f} s" if exposure is not None else spectrum.name
    why = f" ({', '.join(grade.why)})" if grade.why else ""
    return f"{where}   quality {grade.quality}{why}"
