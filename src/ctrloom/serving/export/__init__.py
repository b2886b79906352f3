"""Exports of a bundle: the model as a torch or ONNX program, and its encoder as data."""
