"""The words that entailment goes by, in four languages."""

from __future__ import annotations

import json
import re
from enum import Enum
from pathlib import Path


class Marker(Enum):
    """What makes another statement of a clause."""

    NEGATION = "negation"
    ALMOST = "almost"
    FORMERLY = "formerly"
    CONDITION = "condition"
    UNSURE = "unsure"
    REPORTED = "reported"
    EXCEPT = "except"
    ENDED = "ended"
    DISLIKE = "dislike"
    FUTURE = "future"
    PAST = "past"
    RELATED = "related"
    """It sets one thing against another, or may be a role or in jest: only a model may tell."""


def _any(words: str) -> re.Pattern[str]:
    """One of these words; ``*`` stands for any ending, ``_`` for a space."""
    forms = (word.replace("*", r"\w*").replace("_", r"\s+") for word in words.split())
    return re.compile(rf"(?<![\w'])(?:{'|'.join(forms)})(?![\w'])")


MARKERS: dict[str, dict[Marker, re.Pattern[str]]] = {
    "en": {
        Marker.NEGATION: _any(
            """
            no not never none nobody nothing nowhere neither nor without dont doesnt didnt cant isnt wasnt wont
            """
        ),
        Marker.ALMOST: _any("almost nearly barely hardly scarcely supposedly"),
        Marker.FORMERLY: _any(
            """
            used_to formerly previously former ex no_longer any_more anymore any_longer back_then
            """
        ),
        Marker.CONDITION: _any(
            r"""
            if suppose supposing imagine unless whether pretend pretends pretended pretending wish wishes hypothetically
            otherwise (?<!no\s)doubt doubts doubted deny_* denies_* denied_(?:that|having) denying_* lies?_that
            in_(?:this|our)_(?:game|campaign|role-?play|roleplay)
            an?_lie a_myth (?:false|untrue|wrong|nonsense)_that
            """
        ),
        Marker.UNSURE: _any(
            """
            maybe perhaps might may could would(?!_rather) should possibly probably presumably guess guesses hope
            hopes hoping want wants wanted wanting plan plans planning planned intend intends dream dreams dreamt
            about_to was_going_to were_going_to dreamed considering consider considers thinking_of
            thinking_about thinking wonder wonders wondering
            likely unsure joking kidding try trying tempted
            """
        ),
        Marker.REPORTED: _any(
            """
            say says said tell tells told think thinks thought believe believes believed claim claims claimed heard
            hear rumour rumor rumours rumors allegedly according apparently reckons insists seems suspects assumes
            convinced novel movie film story joke character
            """
        ),
        Marker.EXCEPT: _any("except excepting apart_from but_for but_me besides other_than unlike"),
        Marker.ENDED: _any(
            """
            stop stops stopped stopping quit quits refuse refuses refused avoid avoids avoided turn_down
            turned_down turns_down reject rejects rejected decline declines declined cancel cancels cancelled
            canceled forget
            forgets forgot fail fails failed lack lacks lacked gave_up given_up give_up called_off skip skipped
            """
        ),
        Marker.DISLIKE: _any("dislike dislikes disliked hate hates hated"),
        Marker.FUTURE: _any("will ll going_to gonna about_to next_week next_month next_year tomorrow"),
        Marker.PAST: _any("was were did had has_been have_been has_already have_already already"),
    },
    "de": {
        Marker.NEGATION: _any("nicht kein* nie niemals niemand* nichts nirgends ohne weder noch_nie"),
        Marker.ALMOST: _any("fast beinahe kaum"),
        Marker.FORMERLY: _any("früher frühere* ehemals ehemalig* damals nicht_mehr kein*_mehr einst war_mal hatte_mal"),
        Marker.CONDITION: _any(
            "wenn falls angenommen hätte* würde* wäre* wärst stell_dir wünschte ob sofern tat_so tue_so tut_so tu_so "
            "vorgegeben "
            "bezweifel* bezweifle* zweifle* bestreite* leugne* abgestritten eine_lüge gelogen stimmt_nicht nicht_wahr"
        ),
        Marker.UNSURE: _any(
            """
            vielleicht eventuell möglicherweise wahrscheinlich könnte* sollte* soll sollen möchte* will wollen
            wollte* hoffe* hofft plane* plant vermutlich wohl überlege* überlegt dürfte*
            """
        ),
        Marker.REPORTED: _any(
            """
            sagt* sage gesagt meint* meine_dass glaubt* glaube denkt denke dachte behauptet* gehört_dass angeblich
            gerücht laut geträumt findet_dass erzählt*
            """
        ),
        Marker.EXCEPT: _any("außer ausgenommen bis_auf im_gegensatz_zu anders_als"),
        Marker.ENDED: _any(
            """
            aufgehört aufhören hört_auf abgesagt abgelehnt vergessen vermeide* vermeidet abgebrochen gekündigt
            verweiger* durchgefallen
            """
        ),
        Marker.DISLIKE: _any("hasse hasst hassen"),
        Marker.FUTURE: _any("morgen nächste* demnächst werde_ich ich_werde wir_werden"),
        Marker.PAST: _any("war waren wurde wurden worden gewesen hatte hatten bereits schon gestern"),
    },
    "es": {
        Marker.NEGATION: _any("no nunca jamás nadie nada sin tampoco ningún ninguna ninguno ni ne pas jamais"),
        Marker.ALMOST: _any("casi apenas por_poco"),
        Marker.FORMERLY: _any("antes solía antiguamente ya_no anteriormente ex"),
        Marker.CONDITION: _any(
            "si ojalá supón fingí finge fingió fingir fingiendo imagina supongamos imaginémonos "
            "dudo duda_que dudamos niego niega_que negué mentira mito desmiento"
        ),
        Marker.UNSURE: _any(
            """
            quizá quizás tal_vez
            igual_*mos igual_me igual_nos podría*
            puede_que a_lo_mejor quiero quiere quería quisiera espero espera debería*
            probablemente posiblemente acaso pienso pensando planeo planea planeando planeamos valorando barajando
            baraj* contempl* gustaría *dría *bría [a-z]{2,}(?<!mar)(?<!secret)(?<!comis)(?<!not)aría *iría sería
            debería querría haría comería vendería *ríamos
            """
        ),
        Marker.REPORTED: _any(
            """
            dice dicen dijo dijeron cree creen creo piensa piensan rumor rumores según supuestamente soñé cuenta_que
            oí
            """
        ),
        Marker.EXCEPT: _any("menos excepto salvo a_diferencia_de"),
        Marker.ENDED: _any(
            """
            dejé_de dejar_de dejó_de deja_de rechacé rechazó cancelé canceló olvidé olvidó evito evita suspendí
            suspendió
            """
        ),
        Marker.DISLIKE: _any("odio odia odian detesto detesta"),
        Marker.FUTURE: _any(r"va_a voy_a vamos_a van_a (?<!esta\s)(?<!la\s)mañana próxim*"),
        Marker.PAST: _any("fue fueron fui era eran ha_sido han_sido hizo hubo ayer"),
    },
}

OPPOSITES = (
    ("up", "down"),
    ("before", "after"),
    ("older", "younger"),
    ("more", "less"),
    ("with", "without"),
    ("over", "under"),
    ("first", "last"),
    ("vor", "nach"),
    ("mit", "ohne"),
    ("mehr", "weniger"),
    ("antes", "después"),
    ("con", "sin"),
    ("más", "menos"),
    ("mayor", "menor"),
)
"""Of two such words a claim has the one that was said."""
ONE_OF: tuple[frozenset[str], ...] = tuple(
    map(frozenset, json.loads(Path(__file__).with_name("role_words.json").read_text(encoding="utf-8"))["one_of"])
)
"""Of the words of such a set a claim has none for another one that was said: seasons, parts of a day, colours."""

CHINESE_NO_MARKERS = (
    "通常",
    "一般",
    "平时",
    "往往",
    "终于",
    "不错",
    "差不多",
    "非常",
    "无论",
    "不但",
    "不管",
    "说不定_",
    "特别",
    "区别",
    "分别",
    "小说",
    "理想",
    "别人",
    "主要",
)
CHINESE_MARKERS: dict[Marker, re.Pattern[str]] = {
    Marker.UNSURE: re.compile(
        "可能|也许|或许|大概|没准|说不定|打算|准备(?!好)|希望|想|应该|要不要|是不是|考虑|计划|恐怕|本来|开玩笑|预计|怀疑|たい(?:です|と|な)"
    ),
    Marker.NEGATION: re.compile("没有|不是|不再|[不没未别无]|ません|ない|なかった"),
    Marker.ALMOST: re.compile("差一?点|几乎|险些"),
    Marker.FORMERLY: re.compile("以前|曾经|从前|过去|原来|曾"),
    Marker.CONDITION: re.compile("如果|要是|假如|假装|装作|倘若|假设|若是|除非|万一|否认|假的|谎话|谎言"),
    Marker.REPORTED: re.compile("听说|据说|认为|觉得|以为|梦见|梦到|传言|说"),
    Marker.ENDED: re.compile("戒|停止|取消|拒绝|忘了|放弃|退掉"),
    Marker.EXCEPT: re.compile("除了|除"),
}
CHINESE_FUNCTION_SIGNS = frozenset("的了是在得地着呀啊呢吧吗个也很都就给有位只这那元块")

FUNCTION_WORDS: dict[str, frozenset[str]] = {
    "en": frozenset(
        """
        a an and are as at be been being but by did do does doing done for from had has have having he her hers
        him his how i in into is it its me my mine myself of on or our ours out s she so that the their them then
        there these they this those to up us was we were what when where which who whom whose why will with you
        your yours am m re ve ll d t just also too very really quite about after again all any because before
        both can during each every few off only other over own per same some such than through under until while
        although though yes no not never none nobody nothing nowhere neither nor without ever if maybe perhaps
        might may could would should almost nearly used now currently named called down away back here got get
        gets getting
        """.split()
    ),
    "de": frozenset(
        """
        der die das den dem des ein eine einen einem einer eines und oder aber sondern denn weil dass ich du er
        sie es wir ihr mich mir dich dir ihn ihm uns euch sich mein meine meinen meinem meiner meines unser
        unsere unserem unseren unserer dein deine sein seine seinen seinem seiner ihre ihren ihrem ihrer bin bist
        ist sind seid war waren warst gewesen habe hast hat haben hatte hatten werde wirst wird werden wurde
        worden in im am an auf bei beim mit nach seit von vom zu zum zur aus für gegen um über unter vor hinter
        neben zwischen durch bis als wie so auch noch schon nur sehr gern gerne ja nein nicht kein keine keinen
        keinem keiner nie niemals man jetzt hier da dort gerade immer jeden jede jeder vielleicht wenn falls
        würde hätte wäre früher heißt heiße
        """.split()
    ),
    "es": frozenset(
        """
        el la los las un una unos unas y e o u pero sino porque que de del a al en con por para sin sobre entre
        desde hasta yo tú él ella nosotros nosotras ellos ellas me te le lo les se nos mi mis tu tus su sus
        nuestro nuestra nuestros nuestras soy eres es somos son era eran fue fui estoy está están estaba he has
        ha hemos han había hay tengo tiene tienen tenemos muy más menos también ya no nunca si sí como cuando
        donde este esta esto ese esa eso todo todos toda todas cada hace ahora aquí voy va vamos van antes quizás
        quizá llama llamo llamado llamada
        """.split()
    ),
    "zh": frozenset(),
}
LIGHT_WORDS = frozenset(
    """
        be have need work use do make go take name call live hav get keep person thing time people brauch arbeit
        mach hab haben geh trabaj necesit hac usa
        """.split()
) - frozenset(("take", "live", "work", "trabaj", "arbeit", "go", "geh"))
"""As stems: a claim may have one more of these than what was said."""
_WORDS = json.loads(Path(__file__).with_name("claim_words.json").read_text(encoding="utf-8"))
for _language, _words in _WORDS["relate"].items():
    MARKERS[_language][Marker.RELATED] = _any(_words)
SAME_WORDS: dict[str, str] = {
    form: base for base, _, forms in (line.partition(": ") for line in _WORDS["same"]) for form in forms.split()
}
"""Forms of one word that no stemmer brings together, and a few words of one meaning."""
PERSON_WORDS: frozenset[str] = frozenset(" ".join(_WORDS["persons"]).split())
"""Who somebody may speak of, folded: "my sister had twins" is not said of the speaker."""
AGREEING_WORDS: frozenset[str] = frozenset(" ".join(_WORDS["agree"]).split())
"""With which a short turn says the same of its own speaker."""
QUESTION_OPENINGS: frozenset[str] = frozenset(" ".join(_WORDS["open_a_question"]).split())
INSTEAD_OF: frozenset[str] = frozenset(" ".join(_WORDS["instead_of"]).split())
"""What stands behind them is not so."""
PAST_FORMS = re.compile(_WORDS["past_forms"])
"""Of verbs."""
KNOWING_WORDS: frozenset[str] = frozenset(" ".join(_WORDS["knows_best"]).split())
"""Who tells somebody what is so: a doctor."""
PRESUPPOSING_WORDS: frozenset[str] = frozenset(" ".join(_WORDS["presuppose"]).split())
"""With which a question tells what it does not ask: "how do I say that I am leaving?"."""
SHARED_KNOWLEDGE_WORDS: frozenset[str] = frozenset(" ".join(_WORDS["know"]).split())
"""Right behind which a question tells what both know: "you know I'm a vegetarian, don't you?"."""
SHARED_KNOWLEDGE_IN_CHINESE = re.compile(_WORDS["know_zh"])
WEAKENING_WORDS: frozenset[str] = frozenset(" ".join(_WORDS["weaken"]).split())
"""With which a claim says no more than that somebody wants, plans or says it."""
USER_WORDS = frozenset(
    "user users user's nutzer nutzerin nutzers benutzer benutzerin benutzers usuario usuaria speaker sprecher".split()
)
SUBJECT_PRONOUNS = {
    "en": frozenset(("i", "we")),
    "de": frozenset(("ich", "wir")),
    "es": frozenset(("yo", "nosotros", "nosotras")),
    "zh": frozenset[str](),
}
OBJECT_PRONOUNS = {
    "en": frozenset(("me", "us", "myself")),
    "de": frozenset(("mich", "mir", "uns")),
    "es": frozenset(("me", "nos", "mí")),
    "zh": frozenset[str](),
}
WE = frozenset(("we", "wir", "nosotros", "nosotras"))
OWN_GROUPS = frozenset("team family familie mannschaft equipo familia".split())
"""Of whom somebody says "we": the user's family."""
POSSESSIVES = {
    "en": frozenset(("my", "our", "mine", "ours")),
    "de": frozenset("mein meine meinen meinem meiner meines unser unsere unserem unseren unserer".split()),
    "es": frozenset("mi mis nuestro nuestra nuestros nuestras".split()),
    "zh": frozenset[str](),
}
OTHER_PRONOUNS = frozenset(
    """
        he she it they you him her them that who which this du tú usted er sie es ihn ihm ihr él ella ellos ellas
        lo la le les quien
        """.split()
)
ARTICLES = {
    "en": frozenset("the a an his her their its this that".split()),
    "de": frozenset(
        "der die das den dem des ein eine einen einem einer eines sein seine ihre ihr seinen ihren".split()
    ),
    "es": frozenset("el la los las un una unos unas su sus al del".split()),
    "zh": frozenset[str](),
}
TO_WHOM = frozenset(("a", "al", "to", "an", "zu", "mit", "with"))
MONTHS_DE = tuple("Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split())
MONTHS = frozenset(
    """
    januari februari march april may june juli august septemb octob novemb decemb januar februar marz mai juni oktob
    dezemb ener febrer marz abril may juni juli agost septiembr octubr noviembr diciembr
    """.split()
)
"""As stems: a number stands before or after one."""
DAYS = frozenset(
    """
    monday tuesday wednesday thursday friday saturday sunday weekend tomorrow tonight
    montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag wochenende
    lune marte miércole jueve vierne sábado domingo
    """.split()
)
"""Without an s: when something is may be told before it."""
FREE_PREPOSITIONS = {
    "en": frozenset("in at on since during after before near until around every last next this by".split()),
    "de": frozenset("in im am an ab auf bei beim für seit nach vor während um jeden jede nachts täglich".split()),
    "es": frozenset("en desde durante hasta antes después cada".split()),
    "zh": frozenset[str](),
}
CONJUNCTIONS = {
    "en": frozenset("and but because although though while so whereas".split()),
    "de": frozenset("und aber sondern weil obwohl während denn doch".split()),
    "es": frozenset("y e pero sino porque aunque mientras".split()),
    "zh": frozenset[str](),
}
_ONES = {
    "de": """null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn
        sechzehn siebzehn achtzehn neunzehn""",
    "es": """cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis
        diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco
        veintiséis veintisiete veintiocho veintinueve""",
}
_TENS = {
    "de": "zwanzig dreissig vierzig fünfzig sechzig siebzig achtzig neunzig hundert",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa cien",
}
"""As they are folded: "ss" for an ß."""


def _numerals(language: str) -> dict[str, str]:
    ones, tens = _ONES[language].split(), _TENS[language].split()
    found = {word: str(value) for value, word in enumerate(ones)}
    found |= {word: str(10 * place) for place, word in enumerate(tens, 2)}
    if language == "de":
        for place, ten in enumerate(tens[:-1], 2):
            found |= {f"{one}und{ten}": str(10 * place + value) for value, one in enumerate(["ein", *ones[2:10]], 1)}
    return found


NUMERALS: dict[str, dict[str, str]] = {"en": {}, "de": _numerals("de"), "es": _numerals("es"), "zh": {}}
TURNS = frozenset(("turn", "geword", "cumpl"))
"""As stems: whoever turns five is five."""
