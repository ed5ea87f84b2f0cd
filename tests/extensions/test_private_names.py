"""What the extensions replace in Sphinx, MyST-NB, Jupyter: names that may go without notice.

A setting that is gone would do nothing, silently; so each name is asked for here, in the form in
which it is used. The line says what would be lost.
"""

import inspect

import pytest
import sphinx.builders
from jupyter_cache.cache.main import JupyterCacheBase
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning import KernelProvisionerFactory
from myst_nb import sphinx_ext
from myst_nb.core.config import NbParserConfig
from myst_nb.core.execute import cache, direct
from myst_parser.mdit_to_docutils import base as mdit_to_docutils
from nbclient import NotebookClient
from sphinx.application import Sphinx
from sphinx.jinja2glue import BuiltinTemplateLoader
from sphinx.transforms.i18n import TranslationProgressTotaliser, _NodeUpdater


def source(thing: object) -> str:
    """The code of something of another project."""
    return inspect.getsource(thing)


@pytest.mark.parametrize("module", [cache, direct])
def test_a_kernel_that_dies_can_be_the_failure_of_its_page(module):
    """MyST-NB runs a page through this name of its module, with the folder as `cwd`."""
    assert "cwd" in inspect.signature(module.single_nb_execution).parameters
    assert "= single_nb_execution(" in source(module)


@pytest.mark.parametrize("client", [cache.NotebookClientCache, direct.NotebookClientDirect])
def test_results_can_be_made_repeatable(client):
    """The execution and the look into the cache are both this method, without arguments."""
    start = inspect.unwrap(client.start_client)
    assert list(inspect.signature(start).parameters) == ["self"]


def test_pages_side_by_side_can_share_the_cache():
    """Each page that is put in would delete others, through this name."""
    assert "self.truncate_caches()" in source(JupyterCacheBase.cache_notebook_bundle)


def test_a_build_with_warnings_can_be_told():
    """Sphinx counts them in an attribute of the application."""
    assert "self._warncount" in source(Sphinx)


def test_kernels_end_at_once_and_say_nothing_of_encryption():
    """Both are settings whose default is replaced."""
    assert "immediate" in NotebookClient.shutdown_kernel.values
    assert hasattr(KernelManager, "transport_encryption")


def test_batches_can_be_made_by_us():
    """Sphinx cuts pages through this name, into lists, given a number of processes."""
    assert callable(sphinx.builders.make_chunks)
    assert "make_chunks(docnames, " in source(sphinx.builders)
    assert "app.parallel" in source(sphinx.builders)


def test_links_to_one_page_keep_their_anchors_in_a_translation():
    """The method takes nothing and finds the links in `patch`."""
    update = inspect.unwrap(_NodeUpdater.update_pending_xrefs)
    assert list(inspect.signature(update).parameters) == ["self"]
    assert "self.patch" in source(update)


def test_settings_of_a_message_can_be_remembered():
    """MyST-Parser asks for them through this name, for a document that Sphinx's own replaces."""
    assert "get_default_settings(parser_cls)" in source(mdit_to_docutils.make_document)
    assert "make_document()" in source(mdit_to_docutils.DocutilsRenderer.setup_render)


def test_headings_can_be_told_anew_in_a_translation():
    """Links to headings look for them in the metadata of their page, under this name."""
    finalise = source(mdit_to_docutils.DocutilsRenderer._render_finalise)
    assert "self.document.myst_slugs = self._heading_slugs" in finalise
    assert 'metadata[self.sphinx_env.docname]["myst_slugs"]' in finalise


def test_a_transform_can_ask_what_is_built():
    """The class of the builder is an attribute of the environment."""
    assert "self.env._builder_cls" in source(TranslationProgressTotaliser)


def test_notebooks_of_pages_can_stay_unpublished():
    """MyST-NB has the folder in its settings, and copies them."""
    assert "output_folder=str(output_folder)" in source(sphinx_ext)
    assert callable(NbParserConfig.copy)


def test_pages_can_be_mended_on_their_way_to_the_file():
    """All HTML goes through this method of the template loader."""
    parameters = inspect.signature(BuiltinTemplateLoader.render).parameters
    assert list(parameters) == ["self", "template", "context"]


def test_kernels_can_come_from_another_place():
    """The factory keeps what starts kernels in a dict, by name, and has a default."""
    factory = KernelProvisionerFactory.instance()
    assert isinstance(factory.provisioners, dict)
    assert factory.default_provisioner_name in factory.provisioners


def test_a_kernel_can_be_heard_at_once():
    """The client's class can be replaced, closes its own context and takes a kernel's answer."""
    assert hasattr(AsyncKernelManager, "client_factory")
    assert "_created_context" in source(AsyncKernelClient.__mro__[1]) + source(AsyncKernelClient)
    parameters = inspect.signature(AsyncKernelClient._handle_kernel_info_reply).parameters
    assert next(iter(parameters)) == "self"
    assert len(parameters) == 2
