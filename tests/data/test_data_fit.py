"""Images made to fit another shape: what happens to channels, sizes, bytes and the rest."""

import dataclasses

import pytest
import torch
from artifact.makers import make_features, make_images

from cvxdistill.data import fit_images
from cvxdistill.errors import InputError


def test_the_same_shape_is_left_alone():
    data = make_images()
    assert fit_images(data, data.shape) is data


def test_grey_becomes_colour_by_repetition_and_keeps_its_record():
    data = make_images(name="letters")
    fitted = fit_images(data.subset(torch.tensor([4, 2])), (3, 8, 8))
    assert torch.equal(fitted.images, data.images[[4, 2]].repeat(1, 3, 1, 1))
    assert fitted.images.dtype == torch.uint8
    assert fitted.indices.tolist() == [4, 2]
    assert (fitted.name, fitted.labels.tolist()) == ("letters", data.labels[[4, 2]].tolist())


def test_colour_becomes_grey_by_its_luma():
    data = make_images(3, shape=(3, 8, 8))
    pixels = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    for channel in range(3):
        pixels[channel, channel] = 200
    fitted = fit_images(dataclasses.replace(data, images=pixels), (1, 8, 8))
    assert fitted.images[:, 0, 0, 0].tolist() == [60, 117, 23]  # 200 times 0.299, 0.587, 0.114


def test_padding_keeps_the_pixels_in_the_middle_and_cutting_brings_them_back():
    data = make_images()
    wide = fit_images(data, (1, 11, 12), how="pad")
    assert torch.equal(wide.images[:, :, 1:9, 2:10], data.images)
    assert int(wide.images.sum()) == int(data.images.sum())
    assert torch.equal(fit_images(wide, (1, 8, 8), how="pad").images, data.images)


def test_resizing_keeps_a_constant_and_the_place_of_a_bright_half():
    data = make_images(2)
    pixels = torch.full((2, 1, 8, 8), 90, dtype=torch.uint8)
    pixels[1, :, :, :4] = 250
    fitted = fit_images(dataclasses.replace(data, images=pixels), (1, 16, 16)).images
    assert fitted.dtype == torch.uint8
    assert fitted[0].unique().tolist() == [90]
    assert fitted[1, 0, :, :6].unique().tolist() == [250]
    assert fitted[1, 0, :, 10:].unique().tolist() == [90]


def test_floating_images_stay_floating():
    data = make_images()
    floating = dataclasses.replace(data, images=data.images / 255)
    assert fit_images(floating, (3, 4, 4)).images.dtype == torch.float32


@pytest.mark.parametrize(
    ("data", "shape", "how", "match"),
    [
        (make_features(), (1, 8, 8), "resize", "only images can be made to fit"),
        (make_images(), (5,), "resize", "only images can be made to fit"),
        (make_images(shape=(4, 8, 8)), (3, 8, 8), "pad", "images of 4 channels"),
        (make_images(), (3, 8, 8), "crop", "`how` must be one of pad, resize; got `crop`"),
    ],
)
def test_what_cannot_fit_is_refused(data, shape, how, match):
    with pytest.raises(InputError, match=match):
        fit_images(data, shape, how=how)
