"""Prompts of many kinds, to see how far an estimate is off. What they say does not matter, how it is cut does."""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]

PROSE = (
    "Rivers begin as springs, as melting snow, or as rain that the ground cannot hold. They follow the slope of the "
    "land, cut valleys where the rock is soft, and leave gravel, sand and clay where the water slows down. People have "
    "always lived beside them: for fish, for transport, for mills and for fields that are flooded every spring."
)
LETTER = (
    "Dear Ms Okonkwo, thank you for your patience. The replacement part left our warehouse in Rotterdam on the 14th "
    "and should reach you by Thursday, 19 November. If it doesn't, please call +31 10 555 0142 between 9:00 and 17:30 "
    "and mention order no. 2026-11-0047-B. We have refunded the €38.50 that you paid for shipping. Kind regards, J. de "
    "Vries"
)
PYTHON = '''
def merge(left: list[int], right: list[int]) -> list[int]:
    """Two sorted lists as one."""
    result: list[int] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            result.append(left[i])
            i += 1
        else:
            result.append(right[j])
            j += 1
    return result + left[i:] + right[j:]
'''
TYPESCRIPT = """
export const useStream = <T,>(url: string, onEvent: (event: T) => void) => {
  useEffect(() => {
    const source = new EventSource(url, { withCredentials: true });
    source.onmessage = ({ data }) => onEvent(JSON.parse(data) as T);
    return () => source.close();
  }, [url]);
};
"""
SQL = """
SELECT c.country_code, COUNT(DISTINCT o.customer_id) AS buyers, SUM(o.total_cents) / 100.0 AS revenue
FROM orders o LEFT JOIN customers c ON c.id = o.customer_id
WHERE o.created_at >= '2026-01-01' AND o.status NOT IN ('cancelled', 'refunded')
GROUP BY 1 HAVING SUM(o.total_cents) > 1000000 ORDER BY revenue DESC LIMIT 20;
"""
LOG = """
2026-11-21T14:03:11.482Z WARN  [pool-7-thread-3] c.e.gateway.Retry - attempt=2 host=10.24.8.113:8443 took=1507ms
2026-11-21T14:03:12.990Z ERROR [pool-7-thread-3] c.e.gateway.Retry - giving up: java.net.SocketTimeoutException
        at com.example.gateway.Retry$Attempt.run(Retry.java:118) ~[gateway-3.4.1.jar:7f2c9ab]
"""
CHINESE = (
    "河流从山间的泉水、融化的雪水和雨水开始,沿着地势流下,切割出峡谷,在水流变缓的地方留下砂石和泥土。自"
    "古以来,人们就住在河边,靠河水捕鱼、运输和灌溉田地。"
)
CHINESE_TRADITIONAL = "請用一段話說明河流如何形成三角洲,並且列出三個著名的例子,每個例子附上所在的國家。"
JAPANESE = (
    "川は山の泉や雪解け水から始まり、土地の傾きに沿って流れます。流れがゆるやかになる場所には、砂や泥が積"
    "もります。昔から人々は川のそばに住み、魚をとり、田んぼに水を引いてきました。"
)
KOREAN = (
    "강은 산속의 샘물이나 눈이 녹은 물에서 시작하여 땅의 기울기를 따라 흐릅니다. 물살이 느려지는 곳에는 "
    "모래와 진흙이 쌓입니다. 사람들은 옛날부터 강가에 살아왔습니다."
)
RUSSIAN = (
    "Реки начинаются с родников, талого снега и дождя. Они текут вниз по склону, прорезают долины и "
    "оставляют песок там, где течение замедляется."
)
ARABIC = "تبدأ الأنهار من الينابيع وذوبان الثلوج والأمطار، ثم تجري مع انحدار الأرض وتترك الرمل والطين حيث يبطؤ الماء."
HINDI = (
    "नदियाँ झरनों, पिघलती बर्फ और वर्षा से शुरू होती हैं और ढलान के साथ बहती हैं। जहाँ पानी धीमा होता है वहाँ रेत और मिट्टी जमा होती है।"
)
GERMAN = (
    "Flüsse entstehen aus Quellen, Schmelzwasser und Regen. Hochwasserschutzmaßnahmen und "
    "Flussbegradigungen verändern ihre Fließgeschwindigkeit."
)
EMOJI = (
    "Best day ever 🎉🎉🎉 we hiked 🥾⛰️ saw a fox 🦊 and swam 🏊‍♀️ in the lake 🌊☀️ … who's in for next week? 👩‍👩‍👧‍👦🙌🏽"
)
EMOJI_ONLY = "🚀🔥💯😂🥲🤷🏻‍♂️🇳🇿🏳️‍🌈👨‍💻🧑🏾‍🚒🫠✨"
JSON = """
{"id": "evt_8f14e45fceea167a", "type": "invoice.paid", "created": 1795000000, "livemode": false, "data": {"object":
{"amount_due": 12950, "currency": "eur", "customer": "cus_Qx7Rk2", "lines": [{"description": "Seats", "quantity": 5,
"unit_amount": 1990, "period": {"start": 1792368000, "end": 1795046400}}, {"description": "Storage", "quantity": 1,
"unit_amount": 3000, "proration": null}], "paid": true, "tags": ["eu", "annual", "priority:2"]}}}
"""
JSON_MINIFIED = (
    '{"a":[1,2.5,-3e-7,null,true],"b":{"c":"d\\u00e9j\\u00e0","e":[[0.12345678,51.5073509],[13.404954,52.520008]]}}'
)
RULES = [
    "You are the assistant of a small library. Answer in at most three sentences, in the language of the question.",
    "Never promise that a book is available; say how to look it up in the catalogue instead.",
    "Opening hours: Monday to Friday 9:30 to 18:00, Saturday 10:00 to 14:00; closed on Sundays and public holidays.",
    "Fines are 20 cents a day for each item and at most 10 euros; children under 14 pay none.",
    "If somebody is rude, stay polite and offer to fetch a colleague. Do not discuss politics, health or law.",
    "When you do not know something, say so and give the telephone number of the desk: 030 5550 199.",
]

CITY = {"city": {"type": "string", "description": "The city and its country, such as Oslo, Norway"}}
UNIT = {"unit": {"type": "string", "enum": ["celsius", "fahrenheit", "kelvin"]}}
DAYS = {"days": {"type": "array", "items": {"type": "object", "properties": {"date": {"type": "string"}}}}}


def tool(name: str, description: str, properties: Fields) -> Fields:
    """A function that the model may call."""
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


WEATHER = tool("get_weather", "The weather in a city now", CITY | UNIT)
FORECAST = tool("get_forecast", "The weather in a city on the coming days", CITY | UNIT | DAYS)
TRAINS = tool("find_trains", "Trains between two cities", {"from": CITY["city"], "to": CITY["city"]})


def user(*texts: str) -> Fields:
    """One question, of one text or of several parts."""
    content = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
    return {"messages": [{"role": "user", "content": content}]}


def system(rules: str, question: str) -> Fields:
    """A question under rules."""
    return {"messages": [{"role": "system", "content": rules}, {"role": "user", "content": question}]}


def turns(*texts: str) -> Fields:
    """A conversation that has come so far, the user first and last."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]}


def called(result: str) -> Fields:
    """A conversation with a tool's result."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    question = {"role": "user", "content": "Do I need a coat in Oslo?"}
    asked = {"role": "assistant", "content": "", "tool_calls": [call]}
    told = {"role": "tool", "tool_call_id": "call_1", "content": result}
    return {"messages": [question, asked, told], "tools": [WEATHER]}


KINDS = {
    "words": "a few words",
    "prose": "English prose",
    "code": "code and logs",
    "cjk": "Chinese, Japanese, Korean",
    "scripts": "German, Russian, Arabic, Hindi",
    "emoji": "emoji",
    "json": "JSON",
    "system": "with a system prompt",
    "turns": "of several turns",
    "tools": "with tools",
}
PROMPTS: dict[str, list[Fields]] = {
    "words": [user("Hi"), user("What is the capital of Norway?")],
    "prose": [
        user(f"Summarize in one sentence: {PROSE}"),
        user(f"Rewrite this letter more warmly.\n\n{LETTER}"),
        user(" ".join([PROSE, LETTER, PROSE])),
        user("Continue this text.", PROSE, "Add one sentence about bridges."),
    ],
    "code": [
        user(f"What does this do?\n```python{PYTHON}```"),
        user(f"Find the bug.\n```tsx{TYPESCRIPT}```"),
        user(f"Explain this query:{SQL}"),
        user(f"What went wrong here?{LOG}"),
    ],
    "cjk": [user(CHINESE), user(CHINESE_TRADITIONAL), user(JAPANESE), user(KOREAN)],
    "scripts": [user(GERMAN), user(RUSSIAN), user(ARABIC), user(HINDI)],
    "emoji": [user(EMOJI), user(EMOJI_ONLY)],
    "json": [user(f"Which fields are missing?{JSON}"), user(JSON_MINIFIED), user(JSON * 3)],
    "system": [
        system("Answer briefly.", "Why is the sky blue?"),
        system(" ".join(RULES), "Until when are you open on Saturday?"),
        system("\n".join(f"- {rule}" for rule in RULES * 4), "I am three days late with two books. What do I pay?"),
    ],
    "turns": [
        turns("Name a river.", "The Danube.", "And its length?"),
        turns("Hello!", "Hello! How can I help you?", PROSE, "That is a nice text about rivers.", "Make it shorter."),
        turns(*["Give me a number.", "42"] * 8, "One more."),
    ],
    "tools": [
        user("What is the weather in Oslo?") | {"tools": [WEATHER]},
        user("How do I get from Oslo to Bergen, and do I need a coat there?") | {"tools": [WEATHER, FORECAST, TRAINS]},
        called('{"temperature": -3.5, "unit": "celsius", "wind": "NE 7 m/s"}'),
    ],
}
