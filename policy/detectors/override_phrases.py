"""Phrases that tell a model to drop what it was told, in fifteen languages. Texts are folded to lower case before."""

from policy.detectors.patterns import Kind, either

GAP = r"[^.!?\n]{0,40}"
DROP = either(
    "ignore", "disregard", "forget", "override", "bypass", "neglect", "discard", "dismiss", "stop following",
    "do not follow", "don't follow", "pay no attention to",
)  # fmt: skip
SAID = either(
    "instructions?", "prompts?", "rules", "guidelines", "directions", "directives", "commands", "orders", "training",
    "programming", "constraints",
)  # fmt: skip
BEFORE = either(
    "previous", "prior", "above", "earlier", "preceding", "foregoing", "initial", "original", "system", "your",
    "existing", "safety",
)  # fmt: skip
GIVEN = either("above", "before this", "so far", "you were given", "you have been given", "you received")
TOLD = either("told", "said", "written", "learned", "above", "before", "that came before", "so far")
YOU_WERE = r"(?: of)?(?: that)?(?: you)?(?: were| have been| was| got)? ?"


def _phrase(language: str, pattern: str) -> Kind:
    return Kind(f"override, {language}", pattern, 0.8)


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
