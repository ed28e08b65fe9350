"""Event dates: whether a text says when something happens at all. A model works one out for what has none, too."""

from __future__ import annotations

import re

_WORDS = """
yesterday today tonight tomorrow ago last next this week weekend month year monday tuesday wednesday thursday
friday saturday sunday january february march april may june july august september october november december
spring summer autumn fall winter christmas easter birthday anniversary morning evening gestern heute morgen
vorgestern übermorgen letzte letzten letztes letzter nächste nächsten nächstes nächster vor woche wochenende
monat jahr montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz mai juni juli oktober
dezember frühling sommer herbst weihnachten ostern geburtstag ayer hoy mañana anteayer hace pasado pasada
próximo próxima semana mes año lunes martes miércoles jueves viernes sábado domingo enero febrero marzo abril
mayo junio julio agosto septiembre octubre noviembre diciembre navidad cumpleaños primavera verano otoño
invierno
"""
_SAYS_WHEN = re.compile(
    rf"\d|\b(?:{'|'.join(_WORDS.split())})\b|[天日月年周]|星期|礼拜|前天|刚才|上次|下次", re.IGNORECASE
)


def says_when(text: str) -> bool:
    """Whether there is a date, a day or a time in a text, in figures or in words."""
    return _SAYS_WHEN.search(text) is not None
