"""A small tokenizer with the structure of PaliGemma's, and its order of ids.

    0 <pad>  1 <eos>  2 <bos>  3 <unk>  4 <mask>  5 <2mass>  6 [@BOS@]  7..105 <unused0..98>
    106 <start_of_turn>  107 <end_of_turn>  108..138 "\\n" x 1..31  139..168 U+2581 x 2..31
    169..216 tags of HTML  217..472 <0x00>..<0xFF>
    473..      pieces in the order they were merged, then single characters
    2560..     <loc0000>..<loc1023>, <seg000>..<seg127>, <image>
               (in the real one from 256000; <image> is 257152, or 256000 + 1024 + 128)

BPE with byte fallback; the normalizer replaces " " with U+2581, which leaves the
pre-tokenizer nothing to split, as in the real file; the post-processor adds <bos>, which
PaliGemmaProcessor has to get round, because it writes <bos> after the image tokens.
"""

import hashlib
import json
import pathlib

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

BASE = 2560
TOKENS = BASE + 1024 + 128 + 1
IMAGE_ID = TOKENS - 1

_BLOCKS = "table caption thead tbody tfoot tr th td".split()
_INLINE = "h1 h2 h3 h4 h5 h6 blockquote strong em b i u s sub sup code".split()
TAGS = [f"<{end}{name}>" for names in (_BLOCKS, _INLINE) for end in ("", "/") for name in names]

HEAD = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<2mass>", "[@BOS@]"]
HEAD += [f"<unused{i}>" for i in range(99)] + ["<start_of_turn>", "<end_of_turn>"]
HEAD += ["\n" * k for k in range(1, 32)] + ["\u2581" * k for k in range(2, 32)] + TAGS
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LOCATIONS = [f"<loc{i:04d}>" for i in range(1024)]
SEGMENTS = [f"<seg{i:03d}>" for i in range(128)]
IMAGE = "<image>"

# Text that every Debian of the release has (package base-files 12.4).
LICENCES = pathlib.Path("/usr/share/common-licenses")
NAMES = "Apache-2.0 Artistic BSD GFDL-1.3 GPL-2 GPL-3 LGPL-2.1 MPL-2.0".split()
PROMPTS = """\
caption en caption de caption fr caption es describe en cap en ocr detect cat ; dog segment person
answer en what is the color of the car? answer en where is the cow standing? question en answer
A cow is standing on the beach next to a wooden fence. Two people ride bicycles along the river in the rain.
ein Hund läuft über die grüne Wiese, während die Sonne scheint. Straße Größe schön für Äpfel Übung
un chat noir est assis près de la fenêtre; où est le garçon? ça va très bien, déjà vu, l'été
el niño está comiendo una manzana roja; ¿dónde está el perro? mañana señor qué
на улице стоит красная машина и собака. что изображено на картинке? кошка сидит на столе
一只猫坐在桌子上。图片里有什么？ 猫が椅子の上に座っています。これは何ですか。 고양이가 의자에 앉아 있다.
قطة تجلس على الطاولة. बिल्ली मेज पर बैठी है। η γάτα κάθεται στο τραπέζι. חתול יושב על השולחן
0 1 2 3 4 5 6 7 8 9 3.14159 2024 100% $5.00 #1 a+b=c <b> [x] {y} "quoted" it's don't — – … “ ” ‘ ’ • © ™ € £
"""  # noqa: E501
CORPUS_SHA256 = "1cff0521636e74e54d2ec64445beeae896bcc67a274ca57fc323abf83ea7ef13"


class OtherCorpusError(Exception):
    """This machine does not have the text that the tokenizer was trained on."""


def _corpus() -> list[str]:
    lines = []
    for name in NAMES:
        try:
            text = (LICENCES / name).read_text("utf-8", "replace")
        except OSError as error:
            raise OtherCorpusError(
                f"{LICENCES / name} cannot be read: {error.strerror}"
            ) from error
        lines += text.splitlines()
    lines += PROMPTS.splitlines() * 6
    if hashlib.sha256("\n".join(lines).encode()).hexdigest() != CORPUS_SHA256:
        raise OtherCorpusError(f"the texts in {LICENCES} are not those of Debian 12")
    return lines


def _train() -> tuple[list[str], list[list[str]]]:
    """Pieces in the order of their ids, and merges."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.normalizer = normalizers.Replace(" ", "\u2581")
    # Splits for training only, as SentencePiece has them: no piece has U+2581 inside, and
    # digits stay alone.
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\u2581", "merged_with_next"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    size = BASE - len(HEAD) - len(BYTES)
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, special_tokens=[]
    )
    bpe.train_from_iterator(_corpus(), trainer)
    trained = json.loads(bpe.to_str())["model"]
    by_id = sorted(trained["vocab"], key=trained["vocab"].get)
    pieces = [piece for piece in by_id if len(piece) > 1]
    pieces += [piece for piece in by_id if len(piece) == 1]
    assert len(pieces) == size
    # Runs of spaces are user-defined pieces and outrank whatever was learnt; the converted
    # file lists every split, the longest left part first. So "  the" is U+2581 x 2 + "the".
    runs = [(i, j) for i in range(1, 31) for j in range(1, 31) if i + j <= 31]
    runs.sort(reverse=True)
    merges = [["\u2581" * i, "\u2581" * j] for i, j in runs]
    return pieces, merges + [list(merge) for merge in trained["merges"]]


def _added(token_id: int, content: str, special: bool, normalized: bool = False) -> dict:
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": normalized,
        "special": special,
    }


def _build() -> dict:
    pieces, merges = _train()
    order = HEAD + BYTES + pieces + LOCATIONS + SEGMENTS
    assert len(set(order)) == len(order) == IMAGE_ID
    vocab = {token: i for i, token in enumerate(order)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=[tuple(merge) for merge in merges],
            byte_fallback=True,
            unk_token="<unk>",
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", 2)]
    )
    content = json.loads(tokenizer.to_str())
    specials = HEAD.index("<end_of_turn>") + 1
    added = [_added(i, token, i < specials) for i, token in enumerate(HEAD)]
    # normalized: what `add_tokens` of a string does.
    added += [_added(vocab[token], token, False, True) for token in LOCATIONS + SEGMENTS]
    added.append(_added(IMAGE_ID, IMAGE, True))
    content["added_tokens"] = added
    return content


def build(layout: str, made: pathlib.Path | None = None) -> dict:
    """The content of tokenizer.json; with `made`, of that file instead of training one.

    The Hub's files of 2024 have merges as strings "a b", newer ones as pairs.
    """
    content = json.loads(made.read_text("utf-8")) if made else _build()
    pairs = [
        merge.split(" ") if isinstance(merge, str) else merge
        for merge in content["model"]["merges"]
    ]
    strings = [" ".join(pair) for pair in pairs]
    content["model"]["merges"] = strings if layout == "hub" else pairs
    assert content["added_tokens"][-1]["id"] == IMAGE_ID
    return content


CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "clean_up_tokenization_spaces": False,
    "additional_special_tokens": [IMAGE],
    "model_max_length": 1000000000000000019884624838656,
    "processor_class": "PaliGemmaProcessor",
    "sp_model_kwargs": {},
    "spaces_between_special_tokens": False,
    "tokenizer_class": "GemmaTokenizer",
    "use_default_system_prompt": False,
}
