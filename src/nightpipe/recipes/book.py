"""The book of recipes: all that the engine may run, and the planner that orders them."""

from __future__ import annotations

from nightpipe.engine.builder import Book
from nightpipe.recipes import (
    classify,
    detector,
    ifucube,
    ifuflux,
    ifumasters,
    imageforced,
    imagelight,
    imagemasters,
    imagenew,
    imageskies,
    imaging,
    longslit,
    masters,
    post,
)
from nightpipe.recipes.planner import plan

BOOK = Book(
    recipes=(
        masters.bias,
        masters.noise,
        masters.dark,
        masters.flat,
        longslit.arc,
        detector.prepare,
        longslit.extract,
        ifucube.cube,
        post.sensitivity,
        post.air,
        post.calibrate,
        post.combine,
        post.splice,
        classify.classify,
        imagemasters.selectflats,
        imagemasters.imagenoise,
        imagemasters.imageflat,
        imaging.imageprepare,
        imageskies.skyframes,
        imageskies.fringes,
        imaging.measure,
        imaging.align,
        imagelight.calibrateimages,
        imaging.imagestack,
        imagelight.imagephotometry,
        ifuflux.ifucalibrate,
        ifuflux.ifucombine,
        imagenew.newsources,
        imagenew.difference,
        imageforced.lightcurve,
        imageforced.lightcurves,
        ifumasters.spaxels,
    ),
    plan=plan,
    address="nightpipe.recipes.book:BOOK",
)
