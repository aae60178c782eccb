"""The description on an index page: README.md without what only the repository can show."""

import re
from pathlib import Path

from setuptools import setup

text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
text = re.sub(r"!\[[^]]*\]\((?!http)[^)]*\)\n*", "", text)  # pictures
text = re.sub(r"\[([^]]*)\]\((?!http)[^)]*\)", r"\1", text)  # links into the repository
setup(long_description=text)
