"""The shipped classifiers are what their stamps say, and an altered file is noticed."""
import shutil
import warnings

import pytest
import torch

from canvaslab.data import load
from canvaslab.lab.metrics import frechet
from canvaslab.nets import classifier
from canvaslab.nets.classifier import ASSETS, ROLES, Classifier, accuracy, pretrained, stamp


@pytest.fixture(scope="module")
def test_set():
    data = load("fashion-mnist", split="test")
    return data.x, data.y


@pytest.mark.parametrize("role", ROLES)
def test_accuracy_is_the_stamped_one(role, test_set):
    facts, model = stamp(role), pretrained("fashion-mnist", role=role)
    assert abs(accuracy(model, *test_set) - facts["accuracy"]) < 0.002 and facts["accuracy"] > 0.91
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_the_judge_is_another_net(test_set):
    x, y = test_set[0][:2000].float() / 255, test_set[1][:2000]
    one, other = pretrained(role="features"), pretrained(role="judge")
    wrong = [model(x).argmax(1) != y for model in (one, other)]
    assert one.features(x).shape[1] == 64 and other.features(x).shape[1] != 64
    assert (wrong[0] & wrong[1]).sum() < 0.85 * min(w.sum() for w in wrong), "they make the same errors"


def test_features_lead_to_the_logits_one_image_at_a_time(test_set):
    model, x = pretrained().double(), test_set[0][:4].double() / 255
    assert torch.allclose(model.head(model.features(x)), model(x), atol=1e-12)
    assert torch.allclose(torch.cat([model(one[None]) for one in x]), model(x), atol=1e-9)


def test_feature_distance_knows_a_blur_and_noise_from_real_images(test_set):
    model, x = pretrained(), test_set[0].float() / 255
    real, more, blurred = x[:1000], x[1000:2000], torch.nn.functional.avg_pool2d(x[:1000], 3, 1, 1)
    noise = torch.rand(1000, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    to_real, to_blurred, to_noise = (frechet(model.features(v), model.features(more)) for v in (real, blurred, noise))
    assert 3 * to_real < to_blurred < to_noise / 3


@pytest.mark.parametrize("harm", ["altered", "truncated", "missing"])
def test_a_harmed_file_is_noticed_and_the_net_trained_anew(harm, tmp_path, monkeypatch):
    for file in ASSETS.glob("fashion_classifier.*"):
        shutil.copy(file, tmp_path)
    weights = tmp_path / "fashion_classifier.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes({"altered": content, "truncated": content[:-100], "missing": b""}[harm])
    if harm == "missing":
        weights.unlink()
    anew = Classifier()
    monkeypatch.setattr(classifier, "ASSETS", tmp_path)
    monkeypatch.setattr(classifier, "fit", lambda role: anew)
    with pytest.warns(UserWarning, match=r"fashion_classifier\.safetensors.*trained here"):
        assert pretrained() is anew
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pretrained(retrain=True) is anew


@pytest.mark.parametrize("call", [
    lambda: pretrained("cifar"), lambda: pretrained(role="critic"), lambda: Classifier(size=29),
    lambda: Classifier()(torch.zeros(2, 1, 32, 32)), lambda: Classifier()(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)),
])
def test_what_does_not_fit_gets_one_sentence(call):
    with pytest.raises(ValueError, match=r"there is|accepted|multiple"):
        call()


def test_training_makes_an_untrained_net_good_in_seconds(test_set):
    x, y = test_set[0][:2000], test_set[1][:2000]
    trained = classifier.fit("judge", epochs=0.1, progress=False)
    torch.manual_seed(0)
    assert accuracy(trained, x, y) > 0.7 > 0.3 > accuracy(Classifier().eval(), x, y)
