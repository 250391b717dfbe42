"""Transformers and explainers around real predictors: in the same process and over the network."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop

from modelport_serving.dataplane import DataPlane
from modelport_serving.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelLoadFailed,
    ModelNotFound,
    PredictionFailed,
)
from modelport_serving.exchange import Watchers
from modelport_serving.metrics import Metrics
from modelport_serving.roles import (
    Context,
    ExplainerRole,
    Role,
    Transformer,
)
from modelport_serving.roles.component import load_component
from modelport_serving.roles.explainer import v1_explanations, v2_explanation
from modelport_serving.roles.instances import from_rows, to_rows
from modelport_serving.settings import parse

HERE = Path(__file__).parent
Use = Callable[[Role], Awaitable[Any]]
Around = Callable[[str, Use], Any]


@pytest.fixture(scope="module", autouse=True)
def examples_are_importable() -> Iterator[None]:
    sys.path.append(str(HERE))
    yield
    sys.path.remove(str(HERE))


def run_role(arguments: list[str], use: Use) -> Any:
    """Load a role as a server does, use it in its event loop, and close it."""

    async def main() -> Any:
        plane = DataPlane(parse(arguments), Watchers(Metrics()))
        await plane.start()
        assert plane.role is not None
        try:
            return await use(plane.role)
        finally:
            await plane.close()

    return uvloop.run(main())


@pytest.fixture(scope="module")
def predictor(serving: Any, tumor: Any) -> Iterator[Any]:
    with serving(*tumor.arguments("m")) as server:
        yield server


@pytest.fixture(params=["same process", "v1", "v2"])
def around(request: Any, tumor: Any) -> Around:
    """Put a role around the model `tumor`, which serves as `m`."""
    if request.param == "same process":
        place = [*tumor.arguments("m")]
    else:
        server = request.getfixturevalue("predictor")
        host = ["--predictor_host", server.address, "--predictor_protocol", request.param]
        place = ["--model_name", "m", *host]
    return lambda role, use: run_role([*place, *role.split()], use)


@pytest.fixture
def inside(tumor: Any) -> Around:
    return lambda role, use: run_role([*tumor.arguments("m"), *role.split()], use)


class TestInstances:
    @pytest.mark.parametrize(
        ("rows", "kind", "shape"),
        [
            ([1, 2], "i", (2,)),
            ([[1, 2.5], [3, 4]], "f", (2, 2)),
            ([[[1], [2]]], "i", (1, 2, 1)),
            ([1.5, None], "f", (2,)),
            ([True, False], "b", (2,)),
            (["a", "b"], "O", (2,)),
            ([["a", 1.5], ["b", None]], "O", (2, 2)),
            ([[1, 2], [3]], "O", (2,)),
            ([{"a": 1}, {"b": 1}], "O", (2,)),
            ([True, None], "O", (2,)),
        ],
    )
    def test_rows_come_back(self, rows: list[Any], kind: str, shape: tuple[int, ...]) -> None:
        tensors = from_rows(rows)
        assert list(tensors) == ["instances"]
        assert tensors["instances"].dtype.kind == kind
        assert tensors["instances"].shape == shape
        back = to_rows(tensors)
        assert back == rows if kind == "O" else np.array_equal(back, np.array(rows, float), True)

    def test_objects_are_columns(self) -> None:
        rows = [{"size": 1, "colour": "red"}, {"colour": "blue", "size": 2.5}]
        tensors = from_rows(rows)
        assert tensors["size"].tolist() == [1.0, 2.5]
        assert tensors["colour"].tolist() == ["red", "blue"]
        assert to_rows(tensors) == rows

    def test_bytes_are_base64(self) -> None:
        image = {"b64": base64.b64encode(b"\xff\x00").decode()}
        assert from_rows([image])["instances"].tolist() == [b"\xff\x00"]
        assert from_rows([{"image": image, "n": 1}])["image"].tolist() == [b"\xff\x00"]
        for rows in ([image], [{"image": image, "n": 1}], [[image, 1]]):
            assert to_rows(from_rows(rows)) == rows
        with pytest.raises(InvalidInput, match="b64"):
            from_rows([{"b64": "?"}])

    def test_one_tensor_of_several_values_a_row_is_the_rows(self) -> None:
        assert to_rows({"input": np.array([[1, 2]])}).tolist() == [[1, 2]]
        assert to_rows({"size": np.array([1, 2])}) == [{"size": 1}, {"size": 2}]

    def test_v1_needs_rows_in_common(self) -> None:
        with pytest.raises(InvalidInput, match=r"'a' \[2\], 'b' \[3\]"):
            to_rows({"a": np.zeros(2), "b": np.zeros(3)})


class TestLoading:
    def load(self, reference: str, folder: Path | None = None) -> Transformer:
        return asyncio.run(load_component(reference, Transformer, "m", folder))

    @pytest.mark.parametrize("place", [".", "code"])
    def test_from_the_models_folder(self, tmp_path: Path, place: str) -> None:
        module = f"theirs_{len(place)}"
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / "words.txt").write_text("one two")
        (tmp_path / place / f"{module}.py").write_text("from role_examples import Words as Mine")
        transformer = self.load(f"{module}:Mine", tmp_path)
        assert transformer.words == ["one", "two"]  # type: ignore[attr-defined]
        assert transformer.model_name == "m"

    def test_from_the_current_folder(self, tmp_path: Path, monkeypatch: Any) -> None:
        (tmp_path / "theirs_here.py").write_text("from role_examples import Echo")
        monkeypatch.chdir(tmp_path)
        assert type(self.load("theirs_here:Echo")).__name__ == "Echo"

    def test_a_models_folder_replaces_no_module(self, tmp_path: Path) -> None:
        (tmp_path / "colorsys.py").write_text("raise SystemExit")
        with pytest.raises(ModelLoadFailed, match="no such class"):
            self.load("colorsys:Echo", tmp_path)

    @pytest.mark.parametrize(
        ("reference", "why"),
        [
            ("role_examples", "module:Class"),
            ("nowhere.at_all:X", "no module 'nowhere.at_all' on sys.path or in .*PYTHONPATH"),
            ("role_examples:Missing", "no such class"),
            ("role_examples:LABELS", "does not derive"),
            ("role_examples:Occlusion", "does not derive it from .*Transformer"),
            ("role_examples:Words", "cannot get ready: AssertionError"),
            ("theirs_broken:X", "ModuleNotFoundError: No module named 'nowhere'"),
            ("theirs_wrong:X", "SyntaxError"),
        ],
    )
    def test_what_cannot_be_loaded(
        self, tmp_path: Path, monkeypatch: Any, reference: str, why: str
    ) -> None:
        (tmp_path / "theirs_broken.py").write_text("import nowhere")
        (tmp_path / "theirs_wrong.py").write_text("def")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ModelLoadFailed, match=why):
            self.load(reference)


class TestTransformer:
    def test_changes_what_is_asked_and_answered(self, around: Around, tumor: Any) -> None:
        rows = tumor.rows.to_numpy()[:5]
        scaled = rows * np.array([10, *[1] * 29])
        scaled.flags.writeable = False  # as what comes from the wire

        async def use(role: Role) -> Any:
            context = Context("m", request_id="r1", headers={"x-who": "me"})
            answers = await role.infer({"instances": scaled}, (), context)
            chosen = await role.infer({"instances": scaled}, ["told"], context)
            return answers, chosen, context.seconds

        answers, chosen, seconds = around("--transformer role_examples:Centimetres", use)
        expected = np.array(["malignant", "benign"])[tumor.model.predict(rows)]
        assert answers["diagnosis"].tolist() == expected.tolist()
        assert answers["told"].tolist() == ["m r1 me"] * 5
        assert list(chosen) == ["told"]
        assert {name for name, value in seconds.items() if value > 0} == {
            "preprocess",
            "predict",
            "postprocess",
        }

    @pytest.mark.parametrize("kind", ["lists", "objects"])
    def test_rows_that_it_leaves_alone(self, around: Around, tumor: Any, kind: str) -> None:
        rows: Any = tumor.rows.iloc[:3].to_dict("records")
        if kind == "lists":
            rows = [list(row.values()) for row in rows]

        async def use(role: Role) -> Any:
            inputs = role.mapping.rows(rows)
            return await role.infer(inputs, ["probabilities"], Context("m"))

        answers = around("--transformer role_examples:Echo", use)
        expected = tumor.model.predict_proba(tumor.rows.to_numpy()[:3])
        assert answers["probabilities"] == pytest.approx(expected, abs=1e-5)

    def test_declared_inputs_are_checked(self, inside: Around) -> None:
        async def use(role: Role) -> Any:
            context = Context("m")
            with pytest.raises(InvalidInput, match="unknown input 'x'"):
                role.mapping.tensors({"x": np.zeros(1)})
            texts = role.mapping.rows(["a" * 30])
            with pytest.raises(InvalidInput, match="an image has 30 bytes"):
                await role.infer({"image": np.array([b""], object)}, (), context)
            return await role.infer(texts, (), context), await role.metadata("m")

        answers, metadata = inside("--transformer role_examples:Images", use)
        assert answers["label"].shape == (1,)
        assert [spec.name for spec in metadata.inputs] == ["image"]
        assert [spec.name for spec in metadata.outputs] == ["label", "probabilities"]

    def test_metadata_tells_nothing_untrue(self, inside: Around) -> None:
        async def use(role: Role) -> Any:
            return await role.metadata("m")

        metadata = inside("--transformer role_examples:Centimetres", use)
        assert metadata.inputs == metadata.outputs == ()

    def test_where_its_methods_run(self, inside: Around, tumor: Any) -> None:
        async def use(role: Role) -> Any:
            await role.infer({"instances": tumor.rows.to_numpy()[:1]}, (), Context("m"))
            echo: Any = role._transformer  # type: ignore[union-attr]
            return echo.preprocessed_in, echo.postprocessed_in

        here = threading.current_thread()
        plain, awaited = inside("--transformer role_examples:Echo", use)
        assert plain is not here
        assert awaited is here
        assert inside("--transformer role_examples:QuickEcho", use) == (here, here)

    def test_its_own_failures_name_it(self, inside: Around) -> None:
        rows = np.zeros((1, 30))

        async def use(role: Role) -> None:
            with pytest.raises(PredictionFailed, match=r"Broken\.preprocess failed: KeyError"):
                await role.infer({"input": rows}, (), Context("m"))
            with pytest.raises(PredictionFailed, match=r"Broken\.postprocess must return a dict"):
                await role.infer({"colour": rows}, (), Context("m"))

        inside("--transformer role_examples:Broken", use)

    def test_an_unknown_model_or_output(self, around: Around) -> None:
        rows = {"instances": np.zeros((1, 30))}

        async def use(role: Role) -> Any:
            with pytest.raises(ModelNotFound):
                await role.infer(rows, (), Context("other"))
            with pytest.raises(InvalidInput, match="'nothing'"):
                await role.infer(rows, ["nothing"], Context("m"))
            return await role.ready("m"), await role.ready("other")

        assert around("--transformer role_examples:Echo", use) == (True, False)

    def test_a_deadline(self, inside: Around) -> None:
        async def use(role: Role) -> None:
            past = asyncio.get_running_loop().time() - 1
            with pytest.raises(DeadlineExceeded):
                await role.infer({"instances": np.zeros((1, 30))}, (), Context("m"), past)

        inside("--transformer role_examples:Echo", use)

    def test_context_is_read_only(self) -> None:
        context = Context("m", headers={"a": "b"})
        with pytest.raises(TypeError):
            context.headers["a"] = "c"  # type: ignore[index]


class TestExplainer:
    def test_a_plain_one_asks_and_waits(self, around: Around, tumor: Any) -> None:
        rows = tumor.rows.to_numpy()[:4]

        async def use(role: Role) -> Any:
            assert isinstance(role, ExplainerRole)
            context = Context("m")
            return await role.explain({"instances": rows}, context), context.seconds["explain"]

        result, seconds = around("--explainer role_examples:Occlusion", use)
        body = json.loads(v1_explanations(result))["explanations"]
        probabilities = tumor.model.predict_proba(rows)[:, 1]
        assert body["1"]["base"] == pytest.approx(probabilities[::-1].tolist(), abs=1e-5)
        assert np.shape(body["importance"]) == (4, 2)
        assert body["model"] == "m"
        assert seconds > 0
        (text,) = v2_explanation(result).values()
        assert json.loads(text[0]) == body

    def test_an_async_one_awaits(self, around: Around, tumor: Any) -> None:
        rows = tumor.rows.to_numpy()[:2]

        async def use(role: Role) -> Any:
            assert isinstance(role, ExplainerRole)
            return await role.explain({"instances": rows}, Context("m"))

        outputs = v2_explanation(around("--explainer role_examples:AsyncOcclusion", use))
        assert outputs["base"] == pytest.approx(tumor.model.predict_proba(rows), abs=1e-5)

    def test_more_at_a_time_than_threads_behind_a_transformer(
        self, inside: Around, tumor: Any
    ) -> None:
        """Explanations that wait for the predictor hold no thread that it needs."""
        rows = {"instances": tumor.rows.to_numpy()[:1]}

        async def use(role: Role) -> Any:
            assert isinstance(role, ExplainerRole)
            asked = (role.explain(rows, Context("m")) for _ in range(6))
            return await asyncio.wait_for(asyncio.gather(*asked), 30)

        both = "--max_threads 1 --transformer role_examples:Echo"
        assert len(inside(f"{both} --explainer role_examples:Occlusion", use)) == 6

    def test_what_is_no_explanation(self) -> None:
        with pytest.raises(PredictionFailed, match="not JSON"):
            v1_explanations({"x": object()})
