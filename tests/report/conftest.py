import pytest
import synthetic_results

from rhat import report
from rhat.artifacts import results as contract


@pytest.fixture
def results():
    return synthetic_results.full()


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory):
    """A full study's folder with its report drawn."""
    folder = tmp_path_factory.mktemp("full")
    contract.write(synthetic_results.full(), folder)
    report.draw(folder)
    return folder
