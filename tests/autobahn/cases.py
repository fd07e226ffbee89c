"""Loads the cases of the Autobahn test suite, which are written for Python 2, into Python 3.

Their payloads are strings of bytes. Here a string of bytes is a str of the characters U+0000 to U+00FF: the sources are read
as Latin-1, so that each literal is one, and `raw` and `text` convert at the border to the network.
"""
import builtins
import importlib.abc
import importlib.util
import os
import re
import sys
import types

import binascii
from autobahn.websocket.utf8validator import Utf8Validator


def raw(text):
    return text.encode('latin-1') if isinstance(text, str) else text


def text(raw):
    return bytes(raw).decode('latin-1')


class Validator(Utf8Validator):
    def validate(self, payload):
        return super().validate(raw(payload))


# What the two languages have in common under other names.
PATCHES = [
    (r'(?m)^(\s*)print\b.*$', r'\1pass'),
    (r'\(object, Case, \)', '(Case, )'),
    (r'\bxrange\b', 'range'),
    (r'len\(self\.payload\) / ', 'len(self.payload) // '),
    # The cases about compression are not for relay, and 9.9.1 is in no list.
    (r'(?m)^from case(12_x_x|9_9_1) import \*$', ''),
    (r'(?m)^.*Case1[23]_X_X.*$', ''),
]


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the package `case` and its modules by the names under which they import each other."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        return os.path.join(self.folder, ('__init__' if name == 'cases' else name) + '.py')

    def find_spec(self, name, path=None, target=None):
        if name == 'cases' or re.fullmatch(r'case[0-9_xX]*', name):
            return importlib.util.spec_from_loader(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        with open(self.path(module.__name__), encoding='latin-1') as file:
            source = file.read()
        for pattern, replacement in PATCHES:
            source = re.sub(pattern, replacement, source)
        exec(compile(source, module.__name__, 'exec'), module.__dict__)


def load(suite):
    """The classes of the cases, by id, in order."""
    hexadecimal = types.ModuleType('binascii')
    hexadecimal.b2a_hex = hexadecimal.hexlify = lambda payload: text(binascii.b2a_hex(raw(payload)))
    hexadecimal.a2b_hex = hexadecimal.unhexlify = lambda digits: text(binascii.a2b_hex(digits))
    validator = types.ModuleType('utf8validator')
    validator.Utf8Validator = Validator
    finder = Loader(os.path.join(suite, 'autobahntestsuite', 'case'))
    sys.meta_path.insert(0, finder)
    names = {'binascii': hexadecimal, 'autobahn.websocket.utf8validator': validator}
    before = {name: sys.modules[name] for name in names}
    sys.modules.update(names)
    builtins.unichr = chr
    # The package is called like its module `case`.
    sys.modules.pop('cases', None)
    try:
        module = importlib.import_module('cases')
    finally:
        sys.modules.update(before)
        sys.meta_path.remove(finder)
    base = sys.modules['case'].Case
    # Pickles of equal values may differ in Python 3.
    base.compare = lambda self, one, other: one == other
    return {name.__name__[len('Case'):].replace('_', '.'): name for name in module.Cases}
