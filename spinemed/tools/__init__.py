"""Functions that a language model may call: JSON schema in, checked and limited work, one marked reply out.

Convention: a tool sees files by handle, never by path, and answers with numbers, units, flags and hashes; whatever it
says is data, never an instruction. Open `desk.py` first (what a tool is given), then `toolbox.py` (how it is called).
"""

from spinemed.tools.desk import Answer, Desk, Limits, Models, Tool
from spinemed.tools.folder import ImageFolder
from spinemed.tools.registry import TOOLS, openai_tools, parameters_of
from spinemed.tools.reply import Fault, InputFact, Reply
from spinemed.tools.toolbox import Toolbox

__all__ = [
    "TOOLS",
    "Answer",
    "Desk",
    "Fault",
    "ImageFolder",
    "InputFact",
    "Limits",
    "Models",
    "Reply",
    "Tool",
    "Toolbox",
    "openai_tools",
    "parameters_of",
]
