"""Questions for several things, in four languages; and a ranking that is spread over places."""

from __future__ import annotations

import time

import pytest

from memsched.memory.search.rerank import ScoredHit
from memsched.memory.search.several import asks_for_several, spread_over_places

FOR_SEVERAL = {
    "en": [
        "What books did Anna read?",
        "Which cities did he visit?",
        "How many dogs does Tom have?",
        "How often does she swim?",
        "What kind of music do they like?",
        "What has Maria painted?",
        "Where have they camped?",
        "What do both of them enjoy?",
        "What instruments does she play?",
        "Who are her friends?",
        "Which types of tea does he drink?",
        "What are all the names of the cats?",
        "What hobbies do they share?",
        "Who has been to Rome?",
        "How many times did they meet?",
        "What sports does Leo do?",
    ],
    "de": [
        "Welche Bücher hat Anna gelesen?",
        "Welche Städte hat er besucht?",
        "Wie oft geht sie schwimmen?",
        "Wie viele Hunde hat Tom?",
        "Welche neuen Filme kennt sie?",
        "In welchen Ländern war er?",
        "Was hat sie alles gekauft?",
        "Welche Arten von Musik mögen sie?",
        "Welche Instrumente spielt sie?",
        "Welche Hobbys haben sie gemeinsam?",
        "Wie viele Male haben sie sich getroffen?",
        "Welche Länder mag er?",
        "Nenne alle Geschenke von Oma.",
        "Mit welchen Freunden war er dort?",
        "Welche Sprachen lernt Leo?",
        "Wen hat sie alles eingeladen?",
    ],
    "es": [
        "¿Qué libros leyó Ana?",
        "¿Qué ciudades visitó?",
        "¿Cuántas veces nada?",
        "¿Cuáles son sus aficiones?",
        "¿Qué tipos de música le gustan?",
        "¿Quiénes vinieron a la fiesta?",
        "¿En qué países ha vivido?",
        "Dime todos los regalos",
        "¿Qué instrumentos toca?",
        "¿Qué aficiones comparten?",
        "¿Cuántos gatos tiene?",
        "¿Con qué amigos fue?",
        "¿Qué deportes hace Leo?",
        "¿Qué otros idiomas habla?",
        "¿Con qué frecuencia se ven?",
        "¿Cuáles le gustaron a ambos?",
    ],
    "zh": [
        "小明去过哪些城市?",
        "她游了几次泳?",
        "他有几只狗?",
        "他们都喜欢什么?",
        "她买的所有东西是什么?",
        "他看过多少本书?",
        "喜欢哪些种类的音乐?",
        "她去了多少次北京?",
        "她会弹哪些乐器?",
        "他们有哪几个共同爱好?",
        "他养了多少只猫?",
        "周末都做了什么?",
        "她总共见过他几回?",
        "李雷参加了几场比赛?",
        "列出他的全部礼物",
        "他们分别喜欢什么运动?",
    ],
}
FOR_ONE = {
    "en": [
        "When did Anna move?",
        "What is the name of her dog?",
        "Where does Tom live?",
        "Who called on Sunday?",
        "Why did he leave the job?",
        "What did she cook on Friday?",
        "Is the cat black?",
        "How old is Ben?",
        "When is the exam?",
        "Where did they meet?",
        "Did he sell the car?",
        "Which colour is the door?",
        "Who won the match?",
        "How did she get home?",
    ],
    "de": [
        "Wann ist Anna umgezogen?",
        "Welche Farbe hat das Auto?",
        "Wie heißt ihr Hund?",
        "Wo wohnt Tom?",
        "Welche Nummer hat das Zimmer?",
        "Warum hat er gekündigt?",
        "Welchen Kuchen mag sie?",
        "Ist alles gut gegangen?",
        "Wann ist die Prüfung?",
        "Welche Schule besucht er?",
        "Welche Sprache lernt sie?",
        "Hat er das Auto verkauft?",
        "Was sagte der Arzt?",
        "Welche Aufgabe war die schwerste?",
        "Welchen Beruf hat er?",
        "Fährt er alle zwei Wochen nach Köln?",
    ],
    "es": [
        "¿Cuándo se mudó Ana?",
        "¿Qué es su perro?",
        "¿Dónde vive Tomás?",
        "¿Qué mes fue?",
        "¿Por qué dejó el trabajo?",
        "¿Qué hemos comido?",
        "¿Qué color prefiere?",
        "¿Corre todos los días?",
        "¿Cuándo es el examen?",
        "¿Qué dijo el médico?",
        "¿Vendió el coche?",
        "¿Qué trabajo tiene?",
        "¿Qué haces los lunes?",
        "¿Qué escuela prefiere?",
        "¿Quién ganó?",
    ],
    "zh": [
        "小明什么时候搬家?",
        "他的狗叫什么?",
        "她住在哪里?",
        "中国的首都是哪里?",
        "现在几点?",
        "这件衣服多少钱?",
        "他几岁?",
        "她为什么辞职?",
        "考试是什么时候?",
        "医生说了什么?",
        "他把车卖了吗?",
        "成都的天气怎么样?",
        "她今年多少岁?",
        "今天星期几?",
        "谁赢了比赛?",
        "他在哪所学校上学?",
    ],
}


@pytest.mark.parametrize("question", [each for listed in FOR_SEVERAL.values() for each in listed])
def test_a_question_for_several_things(question: str) -> None:
    assert asks_for_several(question)


@pytest.mark.parametrize("question", [each for listed in FOR_ONE.values() for each in listed])
def test_a_question_for_one_thing(question: str) -> None:
    assert not asks_for_several(question)


@pytest.mark.parametrize(
    "unit", ["what ", "a", "welche ", "que ", " ", "alle zwei ", "in welchen a ", "was alles ", "\n"]
)
def test_a_question_of_any_length_takes_no_time(unit: str) -> None:
    began = time.perf_counter()
    asks_for_several("What " + unit * (100_000 // len(unit)))
    assert time.perf_counter() - began < 1  # 0.03 s; quadratic time would be minutes


def test_what_stands_around_a_better_one_counts_less() -> None:
    def hit(name: str, score: float, session: str, turn: int) -> ScoredHit:
        return ScoredHit(name, {"session_id": session, "turn": turn}, {}, score)

    ranked = [hit("best", 3, "a", 1), hit("beside it", 2, "a", 2), hit("elsewhere", 1.8, "b", 1), hit("far", 1, "a", 9)]

    spread = spread_over_places(ranked, 3)

    assert [each.memory_id for each in spread] == ["best", "elsewhere", "beside it", "far"]
