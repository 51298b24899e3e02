"""Other marks of a text that means to steer a model: role marks, another self, secrecy, data carried away."""

from policy.detectors.patterns import Kind, either

MARKS = either(
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
SELF = either(
    r"\byou are (?:now|no longer) (?:an? |the |in |bound|restricted|limited|dan\b|free|my )",
    r"\b(?:act|behave|respond|pretend|role-?play) (?:as|to be|like) "
    r"(?:dan\b|if you (?:have|had|were|are) no|an? (?:unrestricted|unfiltered|uncensored|evil|jailbroken))",
    r"\b(?:developer|jailbreak|god|dan|unrestricted) mode\b",
    r"\bwithout (?:any )?(?:restrictions|filters|safety|censorship)\b",
    r"\bdo anything now\b",
    r"\bfrom now on,? you (?:are|will|must|shall)\b",
)
SHOW = either(
    "reveal", "show", "print", "repeat", "output", "display", "tell me", "disclose", "leak", "write out",
    "what (?:is|are|were)",
)  # fmt: skip
PROMPT = either(
    "system (?:prompt|message|instructions)", "initial (?:prompt|instructions)", "hidden (?:prompt|instructions|rules)",
    "instructions verbatim",
)  # fmt: skip
WHOLE = r"(?:(?:full|exact|original|initial|hidden|secret|entire|complete) ?){0,2}"
SECRECY = either(
    r"\b(?:do not|don't|never|without) (?:tell|inform|mention|notify|alert|show|reveal)(?:ing)?\b[^.!?\n]{0,25}"
    r"\b(?:user|human|operator|owner|anyone|customer|reviewer)s?\b",
    r"\b(?:secretly|covertly|silently) (?:send|forward|upload|copy|run|execute|delete|add|insert|email)\b",
    r"\bdo not ask (?:for )?(?:confirmation|permission|approval)\b",
    r"\bno approval (?:is )?(?:needed|required) for this\b",
)
SEND = either(
    "send", "post", "upload", "forward", "exfiltrate", "transmit", "submit", "leak", "email", "append", "encode",
    "include", "deliver", "pipe", "copy",
)  # fmt: skip
GOODS = either(
    "passwords?", "credentials?", "secrets?", "tokens?", "api keys?", "keys", "conversation", "history", "messages",
    "environment", "env", "system prompt", "contents?", "data", "files?", "contacts", "inbox", "cookies?",
)  # fmt: skip
OUTSIDE = either("https?://", "ftp://", r"[a-z0-9._-]{1,64}@[a-z0-9-]{1,63}\.[a-z]{2,}")
PLACES = either(
    "data", "secrets?", "tokens?", "passwords?", "history", "conversation", "summary", "base64", "contents?",
    "messages?", "keys?", "prompt", "env", "answer", "insert",
)  # fmt: skip
CATCHERS = either(
    r"ngrok(?:-free)?\.(?:io|app|dev)", r"oast\.(?:fun|live|me|pro|site|online)", r"burpcollaborator\.net",
    r"interact\.sh", r"pipedream\.net", r"requestcatcher\.com", r"beeceptor\.com",
)  # fmt: skip
MACHINE = either("ai", "llm", "language model", "assistant", "agent", "chatbot", "bot")

STEERING = (
    Kind("role mark", MARKS, 0.7),
    Kind("role at a line's start", LINE, 0.5),
    Kind("another self", SELF, 0.6),
    Kind(
        "asks for the prompt",
        rf"\b{SHOW}\b[^.!?\n]{{0,30}}\b(?:your|the|its) {WHOLE}{PROMPT}"
        r"|\brepeat (?:everything|all|the (?:words|text)) above\b",
        0.6,
    ),
    Kind("secrecy", SECRECY, 0.5),
    Kind("carries away", rf"\b{SEND}\b[^.!?\n]{{0,80}}\b{GOODS}\b[^\n]{{0,60}}\b{OUTSIDE}", 0.7),
    Kind(
        "picture that carries data",
        r"!\[[^\]\n]{0,200}\]\(https?://[^\s)]{1,300}[?&][^\s)=]{1,40}=(?:[^\s)]{48,}|[^\s)]{0,100}(?:\{|<|\$|%7b))",
        0.7,
    ),
    Kind(
        "address with a place for data",
        rf"https?://[^\s\"']{{1,200}}[?&=/](?:\{{\{{?|<|\$\{{|\[)\s{{0,2}}{PLACES}",
        0.7,
    ),
    Kind("catcher", rf"\b(?:webhook\.site|requestbin\.(?:com|net)|[a-z0-9-]{{1,63}}\.{CATCHERS})", 0.6),
    Kind(
        "speaks to the machine",
        rf"\b(?:attention|important|note|message|instructions?)[:,]? (?:to|for) (?:the )?{MACHINE}s?\b"
        rf"|\bif you are an? {MACHINE}\b"
        r"|\b(?:ai|llm) (?:assistants?|agents?|models?)[:,] (?:please |you must |ignore|do )",
        0.5,
    ),
)
