"""``{command} NAME``: what ``dgl-gmpool NAME --help`` says, from the parser itself."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from dgl_gmpool.cli import COMMANDS


class CommandDirective(SphinxDirective):
    """Usage, description and every flag; one section for each command below it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        module, summary, _ = COMMANDS[name]
        parser = argparse.ArgumentParser(
            prog=f"dgl-gmpool {name}", description=summary[0].upper() + summary[1:] + "."
        )
        importlib.import_module(module).add_arguments(parser)
        return self._described(parser)

    def _described(self, parser: argparse.ArgumentParser) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        text = (parser.description or "") % {"prog": parser.prog}
        if isinstance(parser.formatter_class, type) and issubclass(
            parser.formatter_class, argparse.RawDescriptionHelpFormatter
        ):
            found.append(nodes.literal_block(text, text, language="text"))
        else:
            found.append(nodes.paragraph(text, text))
        usage = parser.format_usage()
        found.append(nodes.literal_block(usage, usage, language="text"))
        for group in parser._action_groups:
            shown = [each for each in group._group_actions if each.help is not argparse.SUPPRESS]
            below = [each for each in shown if isinstance(each, argparse._SubParsersAction)]
            flags = [each for each in shown if each not in below and each.dest != "help"]
            if flags:
                found.append(nodes.rubric(text=(group.title or "").capitalize()))
                found.append(self._flags(flags, parser))
            for action in below:
                for name, each in action.choices.items():
                    section = nodes.section(ids=[nodes.make_id(f"{parser.prog} {name}")])
                    section += nodes.title(text=f"{parser.prog.partition(' ')[2]} {name}")
                    section += self._described(each)
                    found.append(section)
        return found

    def _flags(self, actions: list[argparse.Action], parser: argparse.ArgumentParser) -> nodes.Node:
        formatter = parser._get_formatter()
        items = nodes.definition_list()
        for action in actions:
            written = formatter._format_action_invocation(action)
            explained = formatter._expand_help(action) if action.help else ""
            term = nodes.term("", "", nodes.literal(text=written))
            # As text: a help text is no markup.
            body = nodes.definition("", nodes.paragraph(text=explained))
            items += nodes.definition_list_item("", term, body)
        return items


class CommandList(SphinxDirective):
    """A table of the commands, each with its page."""

    def run(self) -> list[nodes.Node]:
        lines = ["| command | what it does |", "|---|---|"]
        lines += [
            f"| [`dgl-gmpool {name}`]({name}.md) | {command.summary} |"
            for name, command in COMMANDS.items()
        ]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "COMMANDS"), self.content_offset, holder)
        return list(holder.children)


def check_pages(app: Sphinx) -> None:
    """A command without a page is an error."""
    for name in COMMANDS:
        if not (Path(app.srcdir) / "commands" / f"{name}.md").exists():
            raise ExtensionError(
                f"docs/commands/{name}.md is missing: a title, and {{command}} {name}"
            )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command", CommandDirective)
    app.add_directive("command-list", CommandList)
    app.connect("builder-inited", check_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
