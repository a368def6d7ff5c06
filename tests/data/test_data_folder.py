"""Image folders and tars: which files count, in which order, and what is refused."""

import numpy as np
import pytest
import torch
from data.writers import folder_files, png, random_images, write_tar, write_tree
from PIL import Image

from cvxdistill.data import fit_images, load_splits, open_source
from cvxdistill.data.folder import arrange
from cvxdistill.data.images import decode_image, decode_images
from cvxdistill.errors import InputError

GREY = random_images(4, (3, 2))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("prefix", ["", "./", "top/"])
def test_a_tar_reads_as_the_folder(tmp_path, mode, prefix):
    files, truth = folder_files()
    write_tar(tmp_path / "tree.tar.gz", {prefix + k: v for k, v in files.items()}, mode)
    source = open_source(f"folder:{tmp_path / 'tree.tar.gz'}")
    assert source.splits() == ("train", "test")
    for split, (images, labels) in truth.items():
        data = source.load(split)
        np.testing.assert_array_equal(data.images.numpy(), images)
        np.testing.assert_array_equal(data.labels.numpy(), labels)


def test_a_repeated_name_in_a_tar_means_the_last(tmp_path):
    import io
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for image in GREY[:2]:
            info = tarfile.TarInfo("k/1.png")
            info.size = len(png(image))
            archive.addfile(info, io.BytesIO(png(image)))
    data = open_source(str(tmp_path / "a.tar")).load("all")
    np.testing.assert_array_equal(data.images[0, 0].numpy(), GREY[1])


def test_grey_stays_grey_and_a_mixture_becomes_colour(tmp_path):
    colour = random_images(1, (3, 2, 3))[0]
    write_tree(tmp_path / "grey", {"a/1.png": png(GREY[0]), "b/1.png": png(GREY[1])})
    write_tree(tmp_path / "mixed", {"a/1.png": png(GREY[0]), "b/1.png": png(colour)})
    grey = open_source(f"folder:{tmp_path / 'grey'}").load("all")
    np.testing.assert_array_equal(grey.images.numpy(), GREY[:2, None])
    mixed = open_source(f"folder:{tmp_path / 'mixed'}").load("all")
    np.testing.assert_array_equal(mixed.images[0].numpy(), np.stack([GREY[0]] * 3))
    np.testing.assert_array_equal(mixed.images[1].numpy(), colour.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("1", (3, 2)), ("LA", (3, 2)), ("P", (3, 2, 3)), ("RGBA", (3, 2, 3)), ("CMYK", (3, 2, 3))],
)
def test_other_kinds_of_images_are_converted(tmp_path, mode, shape):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    Image.fromarray(random_images(1, (3, 2, 3))[0]).convert(mode).save(tmp_path / "i", kind)
    assert decode_image((tmp_path / "i").read_bytes(), name="i").shape == shape


def test_sixteen_bits_are_refused():
    with pytest.raises(InputError, match=r"toy must have 8 bits a channel.*got mode I;16"):
        decode_image(png(np.full((3, 3), 4000, np.uint16)), name="toy")


def test_classes_and_images_are_sorted_and_the_rest_is_passed_over(tmp_path):
    names = ["b/10.png", "b/9.PNG", "a/z.png", "a/deep/y.png"]
    files = {name: png(image) for name, image in zip(names, GREY, strict=True)}
    noise = {
        "a/notes.txt": b"x",
        "a/._z.png": b"x",
        ".git/z.png": b"x",
        "Thumbs.db": b"",
        "__MACOSX/a/z.png": b"x",
    }
    write_tree(tmp_path / "tree", files | noise)
    data = open_source(f"folder:{tmp_path / 'tree'}").load("all")
    assert data.class_names == ("a", "b")
    assert data.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(data.images[:, 0].numpy(), GREY[[3, 2, 0, 1]])


@pytest.mark.parametrize(
    ("tops", "splits"),
    [
        (["train", "test"], ("train", "test")),
        (["Train", "TEST"], ("train", "test")),
        (["train", "val", "test"], ("train", "validation", "test")),
        (["train", "valid"], ("train", "test")),
        (["train"], ("all",)),
        (["test"], ("all",)),
    ],
)
def test_split_folders(tops, splits):
    files = [f"{top}/{name}/1.png" for top in tops for name in "ab"]
    assert tuple(arrange(files, place="toy")) == splits


def test_a_class_may_be_called_train():
    layout = arrange(["train/1.png", "plane/1.png", "ship/1.png"], place="toy")
    assert list(layout["all"]) == ["plane", "ship", "train"]


def test_an_own_validation_part_is_kept(tmp_path):
    files = {
        f"{split}/{name}/{k}.png": png(random_images(1, (2, 2), seed=k)[0])
        for split, each in (("train", 5), ("val", 2), ("test", 3))
        for name in "ab"
        for k in range(each)
    }
    write_tree(tmp_path / "tree", files)
    parts = load_splits(f"folder:{tmp_path / 'tree'}")
    assert (len(parts.train), len(parts.validation), len(parts.test())) == (10, 4, 6)
    assert parts.validation.source_split == "validation"
    assert parts.record["validation_rule"] == "official"
    with pytest.raises(InputError, match="has its own validation part"):
        load_splits(f"folder:{tmp_path / 'tree'}", validation=0.1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "found none with an ending of"),
        (["1.png"], "must lie in the folder of its class; 1.png does not"),
        (["a/1.png", "2.png"], "2.png does not"),
        (["test/a/1.png", "val/a/1.png"], "must have a train folder beside test and validation"),
        (["train/a/1.png", "test/a/1.png", "old/a/1.png"], "found test, train beside old"),
    ],
)
def test_trees_of_no_known_layout(files, message):
    with pytest.raises(InputError, match=message):
        arrange(files, place="toy")


@pytest.mark.parametrize("pack", ["folder", "tar"])
def test_a_damaged_image_is_named(tmp_path, pack):
    files = {"a/1.png": png(GREY[0]), "a/2.png": png(GREY[1])[:-30], "b/3.png": png(GREY[2])}
    if pack == "tar":
        write_tar(tmp_path / "tree", files)
    else:
        write_tree(tmp_path / "tree", files)
    with pytest.raises(InputError, match=r"tree.*a/2.png cannot be read as an image") as caught:
        open_source(f"folder:{tmp_path / 'tree'}").load("all")
    assert "\n" not in str(caught.value)


def test_sizes_must_agree(tmp_path):
    images = [GREY[0], GREY[1], GREY[2].T]
    files = {f"a/{k}.png": png(image) for k, image in enumerate(images)}
    write_tree(tmp_path / "tree", files)
    with pytest.raises(InputError, match=r"2 x 3 \(2 images\), 3 x 2 \(1 images\). Resize"):
        open_source(f"folder:{tmp_path / 'tree'}").load("all")


def test_more_files_than_the_window_keep_their_places():
    images = random_images(1300, (2, 2))
    order = np.random.default_rng(0).permutation(1300)
    result = decode_images(((int(k), str(k), png(images[k])) for k in order), 1300)
    np.testing.assert_array_equal(result[:, 0].numpy(), images)


def test_a_test_class_without_training_images(tmp_path):
    names = ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png"]
    write_tree(tmp_path / "tree", {name: png(GREY[0]) for name in names})
    source = open_source(f"folder:{tmp_path / 'tree'}")
    with pytest.raises(InputError, match="`c` of the test part has none"):
        source.load("test")


def test_a_test_part_may_lack_a_class(tmp_path):
    names = ["train/a/1.png", "train/b/1.png", "test/b/1.png"]
    write_tree(tmp_path / "tree", {name: png(GREY[0]) for name in names})
    data = open_source(f"folder:{tmp_path / 'tree'}").load("test")
    assert data.labels.tolist() == [1]
    assert data.class_names == ("a", "b")


def test_a_truncated_tar_is_named(tmp_path):
    files, _ = folder_files()
    write_tar(tmp_path / "t.tar.gz", files, "w:gz")
    content = (tmp_path / "t.tar.gz").read_bytes()
    (tmp_path / "t.tar.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"t.tar.gz cannot be read as a tar of images"):
        open_source(str(tmp_path / "t.tar.gz")).splits()


@pytest.mark.slow
def test_real_cifar_jpeg(data_root):
    data = open_source("folder:cifar10-jpeg.tar.gz", data_root=data_root).load("test")
    assert data.images.shape == (10_000, 3, 32, 32)
    assert data.class_counts.tolist() == [1000] * 10
    assert data.class_names[:3] == ("airplane", "automobile", "bird")


@pytest.mark.slow
def test_real_cifar_jpeg_resembles_the_lossless_images(data_root):
    exact = open_source("cifar10-lossless/cifar10_train_first4000.npz", data_root=data_root)
    lossless = exact.load("all")
    parts = load_splits("folder:cifar10-jpeg.tar.gz", data_root=data_root)
    assert (len(parts.train), len(parts.validation)) == (45_000, 5_000)
    assert parts.train.class_counts.tolist() == [4500] * 10
    # The first image of a class in the original order is the first of its folder.
    both = torch.cat([parts.train.indices, parts.validation.indices])
    images = torch.cat([parts.train.images, parts.validation.images])[both.argsort()]
    for label in range(10):
        first = lossless.images[lossless.labels == label][0]
        error = (first.float() - images[5000 * label].float()).abs().mean()
        assert error < 15


@pytest.mark.parametrize("how", ["resize", "pad"])
def test_images_of_any_size_are_fitted_as_they_are_read(tmp_path, how):
    files = {
        "a/1.png": png(random_images(1, (9, 14, 3))[0]),
        "a/2.png": png(random_images(1, (20, 11))[0]),
        "b/1.png": png(random_images(1, (5, 6, 3))[0]),
    }
    write_tree(tmp_path / "birds", files)
    source = open_source(f"folder:{tmp_path / 'birds'}")
    with pytest.raises(InputError, match=r"must have one size.*--base-fit resize"):
        source.load("all")
    for shape in ((3, 8, 8), (1, 7, 8)):
        data = source.fitted(shape, how).load("all")
        assert data.shape == shape
        assert data.labels.tolist() == [0, 0, 1]
        for row, (name, content) in enumerate(files.items()):
            write_tree(tmp_path / f"{shape[0]}-{row}", {name: content})
            alone = open_source(f"folder:{tmp_path / f'{shape[0]}-{row}'}").load("all")
            assert torch.equal(fit_images(alone, shape, how=how).images[0], data.images[row])
