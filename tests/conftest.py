"""What several tests share: a small drawn set, and a tiny checkpoint that can answer it."""

import csv
from dataclasses import replace

import pytest
import torch
from browsing import CHROMIUM, FLAGS

from airframe.conformal import StratifiedScores
from airframe.decision import Calibration
from data.images import open_still
from data.synthetic.export import write_set
from data.taxonomy import Taxonomy
from data.transforms import eval_transform
from data.views import InputSpec
from models.boxes import LocalizerCard
from models.checkpoint import LOCALIZER, Checkpoint, load_checkpoint, save_checkpoint
from models.classifier import build_classifier
from models.localizer import build_detector, load_localizer, save_localizer
from models.look import Look

torch.set_num_threads(1)

DRAWN = ("Su-24", "Su-27", "MiG-29", "Mi-24")


@pytest.fixture(scope="session")
def drawn_set(tmp_path_factory):
    """The manifest.csv of six drawn pictures, 96 x 64 px, of each type in DRAWN."""
    return write_set(tmp_path_factory.mktemp("drawn"), DRAWN, 6, seed=1, width=96, height=64)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, drawn_set):
    """The folder of a checkpoint with random weights: it knows nothing, but loads and answers.

    Su-35 is a class of its own beside Su-27, so that one family has two members.
    """
    taxonomy = Taxonomy.load().restricted((*DRAWN, "Su-35"))
    spec = InputSpec(64, 96)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = build_classifier("mobilenet_v2", len(taxonomy.types))
        # A batch norm that has seen no picture lets every answer be the same.
        for module in classifier.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        with drawn_set.open(newline="", encoding="utf-8") as file:
            paths = [drawn_set.parent / row["path"] for row in csv.DictReader(file)]
        with torch.no_grad():
            classifier(torch.stack([eval_transform(open_still(p).rgb, spec) for p in paths]))
    # Twenty scores: at coverage 0.9 rank ceil(21 x 0.9) = 19, so every type with p >= 0.05 is in.
    scores = StratifiedScores({"drawn": tuple(i / 20 for i in range(1, 21))})
    calibration = Calibration(0.5, scores, coverage=0.9, confidence=0.7, counts={"drawn": 20})
    checkpoint = Checkpoint(
        name="tiny",
        version="0",
        backbones=("mobilenet_v2",),
        classes=taxonomy.types,
        taxonomy=taxonomy,
        looks=(Look(0, "box", spec),),
        localizer=None,
        calibration=calibration.to_dict(),
        metrics={},
        provenance={},
    )
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    save_checkpoint(folder, [classifier.eval()], checkpoint)
    return folder


@pytest.fixture(scope="session")
def tiny_localizer(tmp_path_factory):
    """The folder of a localizer with random weights: its boxes mean nothing, but there are some."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = build_detector("fcos_mobilenet_v2")
        # An untrained head calls nothing an aircraft; tilted, it calls some places one.
        torch.nn.init.normal_(detector.head.classification_head.cls_logits.weight, std=0.5)
    card = LocalizerCard("tiny", "0", "fcos_mobilenet_v2", 96, 0.3, {}, {})
    folder = tmp_path_factory.mktemp("tiny") / "localizer"
    save_localizer(folder, card, detector)
    return folder


@pytest.fixture(scope="session")
def cropping_checkpoint(tmp_path_factory, tiny_checkpoint, tiny_localizer):
    """The tiny checkpoint with the tiny localizer: it looks at boxes, and can say no aircraft."""
    checkpoint, ensemble = load_checkpoint(tiny_checkpoint)
    localizer = load_localizer(tiny_localizer)
    calibration = {**checkpoint.calibration, "absence": -1.0, "faint": 1.0}
    calibration["frame_correlation"] = 0.5
    folder = tmp_path_factory.mktemp("cropping") / "checkpoint"
    card = replace(checkpoint, localizer=localizer.card.sha256, calibration=calibration)
    save_checkpoint(folder, list(ensemble.networks), card)
    save_localizer(folder / LOCALIZER, localizer.card, localizer.detector)
    return folder


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium without a window; the tests that ask for it are skipped where it is not."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium runs these tests")
    with sync_api.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield window
        window.close()


@pytest.fixture
def opened(browser):
    """A function that opens an address; at the end nothing may have been asked of elsewhere and no
    script may have failed."""
    contexts, strangers, faults = [], [], []

    def local(route):
        url = route.request.url
        if url.startswith(("http://127.0.0.1", "data:", "blob:")):
            return route.continue_()
        strangers.append(url)
        return route.abort()

    def open_(address, width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.route("**/*", local)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert strangers == []
    assert faults == []


@pytest.fixture(scope="module")
def s3():
    """An object store that speaks S3: its file system. What is started after it knows it too."""
    from stores import object_store

    with object_store() as store:
        yield store
