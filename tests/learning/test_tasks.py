"""Tasks of other people's data and models."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

import decai_sim as ds
from decai_sim import testing
from decai_sim.errors import ScenarioError, explain
from decai_sim.learning import MLP, MNIST, Custom, FashionMNIST, Hub, Module, Shakespeare, Task, data
from decai_sim.learning.problem import Problem
from decai_sim.seeding import Streams

CLASSES = list(data.fashion_mnist.load().class_names)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``datasets`` prepares stays out of the home folder, and nobody asks the network."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def clothes(part: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    d = data.fashion_mnist.load()
    return (d.x_train[:n], d.y_train[:n]) if part == "train" else (d.x_test[:n], d.y_test[:n])


def rows(part: str, n: int, **more: Any) -> Any:
    """Images of Fashion-MNIST as a data set of the hub has them."""
    import datasets
    from PIL import Image

    x, y = clothes(part, n)
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=CLASSES), **{name: datasets.Value("string") for name in more}
    )
    columns = {"image": [Image.fromarray(image) for image in x], "label": y.tolist(), **more}
    return datasets.Dataset.from_dict(columns, features=features)


def saved(folder: Path, form: str) -> Path:
    """40 + 20 images in a folder, in one of the forms that can be read."""
    import datasets
    from PIL import Image

    if form == "saved":
        datasets.DatasetDict(train=rows("train", 40), test=rows("test", 20)).save_to_disk(folder)
    for part, n in (("train", 40), ("test", 20)):
        if form == "parquet":
            folder.mkdir(exist_ok=True)
            rows(part, n).to_parquet(folder / f"{part}.parquet")
        if form == "images":
            for number, (image, label) in enumerate(zip(*clothes(part, n), strict=True)):
                path = folder / part / CLASSES[label].replace("/", "-") / f"{number:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return folder


@pytest.mark.parametrize("form", ["parquet", "saved", "images"])
def test_a_folder_is_read_in_every_form(tmp_path: Path, form: str) -> None:
    folder = saved(tmp_path / form, form)
    d = Hub("mine", path=folder).load()
    x, y = clothes("train", 40)
    assert d.x_train.dtype == np.uint8
    assert (d.x_train.shape, d.x_test.shape) == ((40, 28, 28), (20, 28, 28))
    if form == "images":  # in the order of the folders, classes by name
        assert sorted(image.tobytes() for image in d.x_train) == sorted(image.tobytes() for image in x)
        by_image = {image.tobytes(): CLASSES[label].replace("/", "-") for image, label in zip(x, y, strict=True)}
        assert [d.class_names[label] for label in d.y_train] == [by_image[image.tobytes()] for image in d.x_train]
        return
    assert np.array_equal(d.x_train, x)
    assert d.y_train.tolist() == y.tolist()
    assert list(d.class_names) == CLASSES
    assert d.mean == pytest.approx((x / 255).mean())
    assert d.std == pytest.approx((x / 255).std())
    testing.check_task(MNIST(path=folder, partition="iid"))


def test_a_data_set_is_read_once(tmp_path: Path) -> None:
    folder = saved(tmp_path / "x", "parquet")
    assert Hub("mine", path=folder).load() is Hub("mine", path=folder, partition="iid").load()


def test_owners_are_natural_clients_and_every_tenth_sample_is_for_testing(tmp_path: Path) -> None:
    writers = ["b"] * 25 + ["a"] * 11 + ["c"] * 4
    rows("train", 40, writer=writers).to_parquet(tmp_path / "train.parquet")
    task = Hub("mine", path=tmp_path, owner="writer", partition="natural", model="cnn")
    d = task.load()
    assert d.owner_names == ("a", "b", "c")
    assert d.owner is not None
    assert d.owner_test is not None
    assert np.bincount(d.owner).tolist() == [10, 23, 4]
    assert np.bincount(d.owner_test, minlength=3).tolist() == [1, 2, 0]
    x, y = clothes("train", 40)
    assert np.array_equal(d.x_test, x[[9, 19, 34]])  # in the order of the file; b's tenth and twentieth, a's tenth
    assert d.y_test.tolist() == y[[9, 19, 34]].tolist()
    problem = Problem(task, 3, Streams(0))
    assert [len(part) for part in problem.samples] == [10, 23, 4]
    assert [len(part) for part in problem.own_tests] == [1, 2, 0]


def test_coloured_images_have_three_colours_each_standardised(tmp_path: Path) -> None:
    import datasets
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
    pixels[..., 1] //= 4
    labels = [number % 2 for number in range(30)]
    columns = {"img": [Image.fromarray(image) for image in pixels], "label": labels}
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "train.parquet")
    task = Hub("mine", path=tmp_path, x="img", model={"kind": "cnn", "channels": [2, 3]}, partition="iid")
    d = task.load()
    assert d.shape == (6, 5, 3)
    assert d.class_names == ("0", "1")
    problem = Problem(task, 3, Streams(0))
    x = problem.inputs(torch.arange(len(d.y_train)))
    assert x.mean((0, 1, 2)).abs().max() < 1e-5
    assert (x.std((0, 1, 2), correction=0) - 1).abs().max() < 1e-4


def test_columns_of_numbers_and_words(tmp_path: Path) -> None:
    lines = [f"{number},{number % 3},{'yes' if number % 2 else 'no'}" for number in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(["a,b,answer", *lines]))
    (tmp_path / "test.csv").write_text("\n".join(["a,b,answer", *lines[:5]]))
    d = Hub("mine", path=tmp_path, x=("a", "b"), y="answer").load()
    assert d.x_train[:3].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert d.class_names == ("no", "yes")
    assert d.y_test.tolist() == [0, 1, 0, 1, 0]
    assert isinstance(d.std, np.ndarray)
    assert d.std[0] == pytest.approx(np.arange(40).std())
    assert Hub("mine", path=tmp_path, x="a", y="answer").load().shape == (1,)


def test_what_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    def complaint(task: Task) -> str:
        with pytest.raises(ScenarioError) as caught:
            task.load()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    offline = complaint(MNIST())
    assert offline.startswith("task.dataset: 'ylecun/mnist' cannot be loaded: Couldn't reach 'ylecun/mnist' on the Hub")
    assert "without the hub, give path=, a folder with parquet or CSV files, images in folders" in offline
    assert "there is no such folder" in complaint(Hub("mine", path=tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert complaint(Hub("mine", path=tmp_path / "empty")).startswith(f"task.path: '{tmp_path / 'empty'}' cannot be loaded: ")
    folder = saved(tmp_path / "x", "parquet")
    assert complaint(Hub("mine", path=folder, x="img")) == "task.x: 'img' is not allowed: 'mine' has the columns image, label"
    assert complaint(Hub("mine", path=folder, y="digit")).startswith("task.y: 'digit' is not allowed")
    assert complaint(Hub("mine", path=folder, owner="who")).startswith("task.owner: 'who' is not allowed")
    assert complaint(Hub("mine", path=folder, train="all")) == "task.train: 'all' is not allowed: 'mine' has train, test"
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "train.csv").write_text("image,label\na,1\nb,2\n")
    assert complaint(Hub("mine", path=tmp_path / "words")).startswith("task.x: 'image' is not allowed: 'mine' has no images or")


def test_scenarios_of_the_hub_are_plain_data(tmp_path: Path) -> None:
    folder = saved(tmp_path / "x", "parquet")
    scenario = ds.Scenario(nodes=4, task={"kind": "mnist", "path": str(folder), "partition": "iid", "model": "softmax"})
    path = tmp_path / "s.yaml"
    path.write_text(scenario.to_yaml())
    assert ds.Scenario.load(path) == scenario
    run = ds.run(scenario.but(protocol__rounds=1, protocol__fraction=1), progress=False, device="cpu")
    assert run.complete


# -- anybody's model and data ------------------------------------------------------------------------------------------------


def points(n: int = 60, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Two clouds in four dimensions, three quarters of them for training."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(size=(n, 4)) + 2 * y[:, None]
    cut = 3 * n // 4
    return x[:cut], y[:cut], x[cut:], y[cut:]


def net() -> nn.Module:
    torch_state = torch.get_rng_state()
    try:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    finally:
        torch.set_rng_state(torch_state)


class Pairs(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.as_tensor(self.x[i]), int(self.y[i])


def test_custom_runs_in_a_scenario_and_learns() -> None:
    scenario = ds.Scenario(
        nodes=6,
        task=Custom(net(), points(400), partition="iid"),
        protocol={"kind": "federated", "rounds": 5, "fraction": 1, "batch_size": 5},
    )
    run = ds.run(scenario, progress=False, device="cpu")
    assert run.rounds.accuracy.iloc[-1] > 0.9
    assert ds.run(scenario, progress=False, device="cpu").trace_digest == run.trace_digest


def test_custom_keeps_its_contract() -> None:
    testing.check_task(Custom(net(), points()))
    testing.check_task(Custom(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), points()))
    testing.check_model(Module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))))


def test_all_ways_to_give_data_are_one_task() -> None:
    x, y, x_test, y_test = points()
    tasks = [
        Custom(net(), (x, y, x_test, y_test)),
        Custom(net(), [x.astype(np.float32), y.astype(np.int32), x_test.astype(np.float32), y_test]),
        Custom(net(), tuple(torch.as_tensor(part) for part in (x, y, x_test, y_test))),
        Custom(net(), (Pairs(x, y), Pairs(x_test, y_test))),
        Custom(dataset=data.given.load((x, y, x_test, y_test)), model=Module(net())),
    ]
    assert len({ds.Scenario(task=task).id for task in tasks}) == 1
    assert all(task == tasks[0] and hash(task) == hash(tasks[0]) for task in tasks)


def test_other_data_or_another_model_is_another_scenario() -> None:
    class Scaled(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by, self.layer = by, nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * self.by  # type: ignore[no-any-return]

    class Shifted(Scaled):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) + self.by  # type: ignore[no-any-return]

    Shifted.__qualname__ = Scaled.__qualname__  # told apart by what they compute
    x, y, x_test, y_test = points()
    other = net()
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1
    moved = x.copy()
    moved[0, 0] += 1
    tasks = [
        Custom(net(), points()),
        Custom(other, points()),
        Custom(net, points()),
        Custom(lambda: Scaled(2), points()),
        Custom(lambda: Scaled(3), points()),
        Custom(lambda: Shifted(2), points()),
        Custom(net(), (moved, y, x_test, y_test)),
        Custom(net(), (x, 1 - y, x_test, y_test)),
        Custom(net(), points(), partition="iid"),
        Custom(MLP(hidden=(5,)), points()),
    ]
    assert len({ds.Scenario(task=task).id for task in tasks}) == len(tasks)


def test_an_instance_starts_from_its_parameters_and_a_factory_from_the_seed() -> None:
    mine = net()
    start = torch.cat([p.detach().flatten() for p in mine.parameters()])
    task = Custom(mine, points())
    assert torch.equal(Problem(task, 3, Streams(0)).initial(), start)
    assert torch.equal(Problem(task, 3, Streams(1)).initial(), start)
    with torch.no_grad():
        Problem(task, 3, Streams(0)).module[0].weight.zero_()  # type: ignore[index, operator, union-attr]
    assert torch.equal(torch.cat([p.detach().flatten() for p in mine.parameters()]), start)
    made = Custom(lambda: nn.Linear(4, 2), points())
    a, again, b = (Problem(made, 3, Streams(seed)).initial() for seed in (0, 0, 1))
    assert torch.equal(a, again)
    assert not torch.equal(a, b)


def test_what_somebody_does_to_their_arrays_later_changes_nothing() -> None:
    x, y, x_test, y_test = (part.astype(np.float32 if part.ndim == 2 else np.int64) for part in points())
    task = Custom(net(), (x, y, x_test, y_test))
    before = task.load().x_train.copy()
    x[:] = 0
    assert np.array_equal(task.load().x_train, before)


def test_a_file_brings_custom_back_where_it_was_made_and_nowhere_else(tmp_path: Path) -> None:
    scenario = ds.Scenario(task=Custom(net(), points()))
    path = tmp_path / "s.yaml"
    path.write_text(scenario.to_yaml())
    assert ds.Scenario.load(path) == scenario
    assert scenario.but(seed=5).task == scenario.task
    command = "import sys, decai_sim as ds\ntry: ds.Scenario.load(sys.argv[1])\nexcept ds.ScenarioError as error: print(error)"
    said = subprocess.run([sys.executable, "-c", command, path], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == 1
    digest = scenario.to_config()["task"]["digest"]
    assert f"task.digest: {digest!r} is not allowed: it stands for data that lives in the Python which made it" in said[0]
    assert "task.model.digest: " in said[0]
    assert "ds.tasks.Custom(model, dataset)" in said[0]


def test_kept_things_go_with_what_refers_to_them() -> None:
    import pickle

    config = Custom(net(), points(seed=7)).to_config()  # nobody holds the task
    with pytest.raises(ValidationError) as caught:
        ds.Scenario(task=config)
    assert "make it again" in explain(caught.value)
    task = Custom(net(), points(seed=7))
    assert ds.Scenario(task=config).task == task
    assert pickle.loads(pickle.dumps(task)) == task


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Normed(), "Normed has buffers; use a model whose state is its parameters"),
        (Normed, "Normed has buffers"),
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), "its layer '0' drops out at random"),
        (lambda: 3, "give an nn.Module, or what makes one without arguments"),
        (nn.Linear, "called without arguments it fails"),
        (7, "give an nn.Module"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(model: Any, message: str) -> None:
    with pytest.raises((TypeError, ScenarioError), match=message) as caught:
        Custom(model, points())
    assert "\n" not in str(caught.value)


def test_dropout_that_is_off_is_allowed() -> None:
    Custom(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)).eval(), points())


def wrong_data() -> Iterator[tuple[Any, str]]:
    x, y, x_test, y_test = points()
    yield (x, y, x_test), "tuple is not allowed: give"
    yield "ylecun/mnist", "str is not allowed: give"
    yield (x, y[:-1], x_test, y_test), "45 training inputs with labels of shape \\(44,\\)"
    yield (x, y + 0.5, x_test, y_test), "training labels of type float64 are not allowed"
    yield (x, y, x_test, y_test - 1), "test labels of type int64 are not allowed: whole numbers from 0"
    yield (x, y, x_test[:, :3], y_test), "test inputs of shape \\(15, 3\\) are not allowed: like \\(45, 4\\)"
    yield (x * np.nan, y, x_test, y_test), "training inputs of type float64 are not allowed: finite numbers"
    yield (x[:0], y[:0], x_test, y_test), "0 training inputs"
    yield (iter([]), iter([])), "list_iterator is not allowed|tuple_iterator is not allowed|iterator is not allowed"


@pytest.mark.parametrize(("given", "message"), list(wrong_data()))
def test_data_that_are_none_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        Custom(net(), given)
    assert str(caught.value).startswith("task.dataset: ")
    assert "\n" not in str(caught.value)


def test_pixels_and_tokens_of_ones_own() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    pixels = rng.integers(0, 256, (30, 6, 6), dtype=np.uint8)
    problem = Problem(Custom(MLP(), (pixels, y, pixels, y)), 3, Streams(0))
    x = problem.inputs(torch.arange(30))
    assert x.dtype == torch.float32
    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-4)
    words = rng.integers(0, 50, (30, 7))
    bag = Custom(lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(28, 3)), (words, y, words, y))
    problem = Problem(bag, 3, Streams(0))
    assert problem.inputs(torch.arange(30)).dtype == torch.int64
    assert 0 <= problem.evaluate(problem.initial())[0] <= 1
    testing.check_task(Custom({"kind": "transformer", "width": 4, "heads": 2, "vocabulary": 50}, (words, y, words, y)))


def test_models_and_inputs_that_do_not_fit_are_one_line() -> None:
    for task, message in (
        (
            Shakespeare(model="mlp"),
            "task.model: 'mlp' is not allowed: it takes numbers, and the inputs of shakespeare are tokens",
        ),
        (FashionMNIST(model="transformer"), "task.model: 'transformer' is not allowed: it takes tokens"),
        (Custom(ds.models.CNN(), points()), "task.model: 'cnn' is not allowed: it takes images of at least 4 x 4 pixels"),
        (Custom(ds.models.ResNet(), points()), r"inputs have the shape \(4,\)"),
    ):
        with pytest.raises(ScenarioError, match=message):
            Problem(task, 3, Streams(0))


def test_threads_that_make_the_same_module_at_once_get_the_same() -> None:
    made: list[Module] = []
    threads = [threading.Thread(target=lambda: made.append(Module(lambda: nn.Linear(4, 2)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({model.digest for model in made}) == 1
