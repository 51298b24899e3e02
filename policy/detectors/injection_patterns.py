"""Patterns of prompt injection: override phrases in fifteen languages, role marks, secrecy and exfiltration.

The text is in lower case before they are matched.
"""

from policy.detectors.patterns import Pattern, any_of

GAP = r"[^.!?\n]{0,40}"
DROP = any_of(
    "ignore", "disregard", "forget", "override", "bypass", "neglect", "discard", "dismiss", "stop following",
    "do not follow", "don't follow", "pay no attention to",
)  # fmt: skip
SAID = any_of(
    "instructions?", "prompts?", "rules", "guidelines", "directions", "directives", "commands", "orders", "training",
    "programming", "constraints",
)  # fmt: skip
BEFORE = any_of(
    "previous", "prior", "above", "earlier", "preceding", "foregoing", "initial", "original", "system", "your",
    "existing", "safety",
)  # fmt: skip
GIVEN = any_of("above", "before this", "so far", "you were given", "you have been given", "you received")
TOLD = any_of("told", "said", "written", "learned", "above", "before", "that came before", "so far")
YOU_WERE = r"(?: of)?(?: that)?(?: you)?(?: were| have been| was| got)? ?"


def _phrase(language: str, pattern: str) -> Pattern:
    return Pattern(f"override, {language}", pattern, 0.8)


OVERRIDES = (
    _phrase("en", rf"\b{DROP}\b{GAP}\b{BEFORE}\b{GAP}\b{SAID}\b"),
    _phrase("en, above", rf"\b{DROP}\b{GAP}\b{SAID}\b[^.!?\n]{{0,12}}\b{GIVEN}\b"),
    _phrase("en, everything", rf"\b{DROP} (?:everything|all|anything){YOU_WERE}{TOLD}"),
    _phrase(
        "en, new",
        r"\b(?:here are|these are|follow) (?:your |the |my )?(?:new|real|actual|updated) "
        r"(?:instructions|orders|rules)\b"
        r"|\bnew (?:system )?(?:instructions|prompt) ?:",
    ),
    _phrase(
        "es",
        rf"\b(?:ignora|ignore|olvida|olvide|descarta|omite|haz caso omiso de|no sigas)\b{GAP}"
        r"\b(?:instrucciones|indicaciones|reglas|órdenes|directrices)\b",
    ),
    _phrase(
        "fr",
        r"\b(?:ignore[zr]?|oublie[zr]?|ne (?:tiens|tenez) (?:pas|plus) compte|ne (?:suis|suivez) (?:pas|plus))\b"
        rf"{GAP}\b(?:instructions|consignes|règles|directives)\b{GAP}"
        r"(?:précédentes|ci-dessus|antérieures|système|initiales|reçues)",
    ),
    _phrase(
        "de",
        rf"\b(?:ignorier\w{{0,3}}|vergiss|vergessen sie|missachte\w{{0,2}}|befolge)\b{GAP}"
        r"\b(?:anweisungen|instruktionen|vorgaben|regeln|befehle)\b",
    ),
    _phrase(
        "pt",
        rf"\b(?:ignore|ignora|esqueça|esquece|desconsidere|não siga)\b{GAP}"
        r"\b(?:instruções|regras|orientações|ordens)\b",
    ),
    _phrase(
        "it",
        rf"\b(?:ignora|ignorate|dimentica|dimenticate|trascura|non seguire)\b{GAP}"
        r"\b(?:istruzioni|regole|indicazioni|direttive)\b",
    ),
    _phrase("nl", rf"\b(?:negeer|vergeet|sla)\b{GAP}\b(?:instructies|aanwijzingen|regels|opdrachten)\b"),
    _phrase("pl", rf"(?:zignoruj|ignoruj|zapomnij|pomiń){GAP}(?:instrukcj|polece|zasad|wytyczn)"),
    _phrase("ru", rf"(?:игнорируй|проигнорируй|забудь|не следуй|отбрось){GAP}(?:инструкци|указани|правил|команд)"),
    _phrase("tr", rf"(?:önceki|yukarıdaki){GAP}(?:talimat|kural|yönerge){GAP}(?:yoksay|unut|dikkate alma|görmezden)"),
    _phrase("zh", r"(?:忽略|无视|忘记|忘掉|不要理会|忽視|無視).{0,12}(?:指令|指示|提示|规则|規則|说明|要求)"),
    _phrase("ja", r"(?:指示|命令|プロンプト|ルール|規則).{0,8}(?:無視|忘れ|従わない)"),
    _phrase("ko", r"(?:이전|위의|앞의|기존).{0,10}(?:지시|명령|지침|규칙).{0,8}(?:무시|잊)"),
    _phrase("ar", r"(?:تجاهل|انس|تجاهلي).{0,20}(?:التعليمات|الأوامر|القواعد)"),
    _phrase("hi", r"(?:निर्देश|आदेश|नियम).{0,20}(?:अनदेखा|भूल|नज़रअंदाज़)"),
)


MARKS = any_of(
    r"<\|(?:im_start|im_end|system|assistant|user|endoftext|eot_id|start_header_id|begin_of_text)\|>",
    r"\[/?inst\]",
    r"<</?sys>>",
    r"</?(?:system|assistant)(?:_prompt|_message)?>",
    r"<start_of_turn>",
    r"\bhuman:\s.{0,200}\bassistant:\s",
)
LINE = (
    r"(?m)^\s{0,8}(?:#{1,4}|\[|\*\*)?\s?(?:system|developer)(?: ?(?:prompt|message|override|note|instruction))?"
    r"(?:\]|\*\*)? ?:\s{0,3}\pL"
)
SELF = any_of(
    r"\byou are (?:now|no longer) (?:an? |the |in |bound|restricted|limited|dan\b|free|my )",
    r"\b(?:act|behave|respond|pretend|role-?play) (?:as|to be|like) "
    r"(?:dan\b|if you (?:have|had|were|are) no|an? (?:unrestricted|unfiltered|uncensored|evil|jailbroken))",
    r"\b(?:developer|jailbreak|god|dan|unrestricted) mode\b",
    r"\bwithout (?:any )?(?:restrictions|filters|safety|censorship)\b",
    r"\bdo anything now\b",
    r"\bfrom now on,? you (?:are|will|must|shall)\b",
)
SHOW = any_of(
    "reveal", "show", "print", "repeat", "output", "display", "tell me", "disclose", "leak", "write out",
    "what (?:is|are|were)",
)  # fmt: skip
PROMPT = any_of(
    "system (?:prompt|message|instructions)", "initial (?:prompt|instructions)", "hidden (?:prompt|instructions|rules)",
    "instructions verbatim",
)  # fmt: skip
WHOLE = r"(?:(?:full|exact|original|initial|hidden|secret|entire|complete) ?){0,2}"
SECRECY = any_of(
    r"\b(?:do not|don't|never|without) (?:tell|inform|mention|notify|alert|show|reveal)(?:ing)?\b[^.!?\n]{0,25}"
    r"\b(?:user|human|operator|owner|anyone|customer|reviewer)s?\b",
    r"\b(?:secretly|covertly|silently) (?:send|forward|upload|copy|run|execute|delete|add|insert|email)\b",
    r"\bdo not ask (?:for )?(?:confirmation|permission|approval)\b",
    r"\bno approval (?:is )?(?:needed|required) for this\b",
)
SEND = any_of(
    "send", "post", "upload", "forward", "exfiltrate", "transmit", "submit", "leak", "email", "append", "encode",
    "include", "deliver", "pipe", "copy",
)  # fmt: skip
GOODS = any_of(
    "passwords?", "credentials?", "secrets?", "tokens?", "api keys?", "keys", "conversation", "history", "messages",
    "environment", "env", "system prompt", "contents?", "data", "files?", "contacts", "inbox", "cookies?",
)  # fmt: skip
OUTSIDE = any_of("https?://", "ftp://", r"[a-z0-9._-]{1,64}@[a-z0-9-]{1,63}\.[a-z]{2,}")
PLACES = any_of(
    "data", "secrets?", "tokens?", "passwords?", "history", "conversation", "summary", "base64", "contents?",
    "messages?", "keys?", "prompt", "env", "answer", "insert",
)  # fmt: skip
CATCHERS = any_of(
    r"ngrok(?:-free)?\.(?:io|app|dev)", r"oast\.(?:fun|live|me|pro|site|online)", r"burpcollaborator\.net",
    r"interact\.sh", r"pipedream\.net", r"requestcatcher\.com", r"beeceptor\.com",
)  # fmt: skip
MACHINE = any_of("ai", "llm", "language model", "assistant", "agent", "chatbot", "bot")

STEERING = (
    Pattern("role mark", MARKS, 0.7),
    Pattern("role at a line's start", LINE, 0.5),
    Pattern("another self", SELF, 0.6),
    Pattern(
        "asks for the prompt",
        rf"\b{SHOW}\b[^.!?\n]{{0,30}}\b(?:your|the|its) {WHOLE}{PROMPT}"
        r"|\brepeat (?:everything|all|the (?:words|text)) above\b",
        0.6,
    ),
    Pattern("secrecy", SECRECY, 0.5),
    Pattern("carries away", rf"\b{SEND}\b[^.!?\n]{{0,80}}\b{GOODS}\b[^\n]{{0,60}}\b{OUTSIDE}", 0.7),
    Pattern(
        "picture that carries data",
        r"!\[[^\]\n]{0,200}\]\(https?://[^\s)]{1,300}[?&][^\s)=]{1,40}=(?:[^\s)]{48,}|[^\s)]{0,100}(?:\{|<|\$|%7b))",
        0.7,
    ),
    Pattern(
        "address with a place for data",
        rf"https?://[^\s\"']{{1,200}}[?&=/](?:\{{\{{?|<|\$\{{|\[)\s{{0,2}}{PLACES}",
        0.7,
    ),
    Pattern("catcher", rf"\b(?:webhook\.site|requestbin\.(?:com|net)|[a-z0-9-]{{1,63}}\.{CATCHERS})", 0.6),
    Pattern(
        "speaks to the machine",
        rf"\b(?:attention|important|note|message|instructions?)[:,]? (?:to|for) (?:the )?{MACHINE}s?\b"
        rf"|\bif you are an? {MACHINE}\b"
        r"|\b(?:ai|llm) (?:assistants?|agents?|models?)[:,] (?:please |you must |ignore|do )",
        0.5,
    ),
)
