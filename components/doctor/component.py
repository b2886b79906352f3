"""Preflight on the node that steps run on."""

from kfp.dsl import Markdown, Output

from components.step import step


@step
def doctor(
    findings: Output[Markdown], store: str, version: str = "", gpu: bool = False, free: float = 5.0
) -> None:
    """Check versions, image, GPU, disk and storage, and fail before anything costly starts.

    Args:
        findings: The results of the checks, and how to fix failures.
        store: Store of the data sets; it must be readable and writable.
        version: Version of ctrloom that submitted the run; the image must have the same. Empty: any.
        gpu: Require a GPU.
        free: Free disk space required for temporary files, in GB.
    """
    import tempfile
    from pathlib import Path

    from ctrloom import doctor

    checks = [
        doctor.packages(),
        doctor.image(version),
        doctor.gpu(gpu),
        doctor.disk(Path(tempfile.gettempdir()), free),
        doctor.store(store),
    ]
    Path(findings.path).write_text(doctor.as_markdown(checks))
    print(doctor.as_markdown(checks))
    if doctor.failed(checks):
        wrong = [f"{check.name}: {check.found}; {check.fix}" for check in checks if check.state == "fail"]
        raise ValueError("; ".join(wrong))
