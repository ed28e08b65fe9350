"""An encoder that somebody exported to ONNX, run by onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memsched.memory.embedding.model_folder import ModelFolder, unusable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_NEEDED = frozenset({"input_ids", "attention_mask"})
_OUTPUTS = ("last_hidden_state", "token_embeddings")


class OnnxEncoder:
    """Raises SettingsError when the file cannot be run, or wants what is not there."""

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Its threads would go on turning for a while after each call, on the CPU that the worker needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder.weights), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base of their own
            raise unusable(folder.path, f"{folder.weights.name} cannot be loaded ({type(error).__name__})") from error
        self._inputs = frozenset(each.name for each in self._session.get_inputs())
        if not _NEEDED <= self._inputs <= _INPUTS:
            raise unusable(folder.path, f"{folder.weights.name} takes {', '.join(sorted(self._inputs))}")
        outputs = [each.name for each in self._session.get_outputs()]
        self._output = next((name for name in _OUTPUTS if name in outputs), outputs[0])

    def __call__(self, ids: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
        """ids, mask: [texts, tokens], int64. Returns [texts, tokens, size]; or [texts, size] if it pools."""
        import numpy as np

        given = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            given["token_type_ids"] = np.zeros_like(ids)
        if "position_ids" in self._inputs:
            given["position_ids"] = np.broadcast_to(np.arange(ids.shape[1], dtype=ids.dtype), ids.shape).copy()
        result: NDArray[Any] = self._session.run([self._output], given)[0]
        return result.astype(np.float32)
