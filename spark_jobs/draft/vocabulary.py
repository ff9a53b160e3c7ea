"""What columns, files and events are called in shops and public data sets, in several languages."""

from __future__ import annotations

import re
import unicodedata


def without_accents(text: str) -> str:
    """A text without accents and other marks on its letters."""
    parts = unicodedata.normalize("NFKD", text).replace("ß", "ss")
    return unicodedata.normalize("NFC", "".join(sign for sign in parts if not unicodedata.combining(sign)))


def _set(words: str) -> frozenset[str]:
    return frozenset(without_accents(words).split())


WORDS: dict[str, frozenset[str]] = {
    role: _set(words)
    for role, words in {
        "user": """
            user users customer customers client clients visitor visitors member members reviewer buyer shopper account
            subscriber person people reader listener viewer guest who uid customerid userid
            kunde kunden nutzer benutzer besteller kaeufer kaufer mitglied leser utilisateur acheteur abonne membre
            cliente clientes usuario usuarios comprador utente utenti acquirente gebruiker klant kund anvandare bruger
            kunder klient uzytkownik zakaznik uzivatel musteri kullanici 用户 客户 会员 顧客 ユーザー 고객 пользователь
            клиент покупатель""",
        "session": "session sessions sitzung sesion sessione sessie cookie device browser",
        "item": """
            item items product products article articles sku asin isbn ean gtin movie movies film films title track
            tracks song songs book books business stock news aid game games video videos recipe course restaurant venue
            place poi show episode goods merchandise what material listing offer ad document page url
            artikel produkt produkte ware waren buch lied produit produits livre articulo producto productos libro
            articolo prodotto prodotti libro artigo produto produtos product tuote vare vara towar zbozi vyrobek urun
            商品 产品 物品 アイテム 상품 товар продукт""",
        "event": """
            event events behavior behaviour action activity interaction operation eventtype type verb
            ereignis aktion evenement evento accion azione evento gebeurtenis zdarzenie olay 行为 事件 событие""",
        "value": """
            rating ratings rate stars star score scores overall grade vote mark opinion
            bewertung note wertung punkte sterne evaluation puntuacion valoracion voto punteggio valutazione nota
            avaliacao beoordeling betyg ocena puan 评分 評価 평점 оценка рейтинг""",
        "amount": """
            quantity qty units amount pieces count counts menge anzahl stueck stuck quantite cantidad quantita
            quantidade aantal antal ilosc mnozstvi adet 数量 количество""",
        "money": """
            price prices paid cost revenue total sum spend preis betrag prix montant precio importe prezzo importo preco
            valor prijs pris cena fiyat 价格 価格 цена сумма""",
        "uses": """
            plays playcount playtime playtimeforever listens clicks views visits watchtime duration seconds minutes
            forever dwell""",
        "time": """
            time timestamp date datetime at ts when day dat moment created updated occurred unix epoch
            zeit zeitpunkt datum uhrzeit zeitstempel heure horodatage jour fecha hora data ora giorno dia tijd tidpunkt
            dato czas cas tarih zaman 时间 日期 日時 시간 дата время""",
        "event_id": "eventid event_uuid eventuuid messageid",
        "title": """
            title name names description descr label headline caption
            titel bezeichnung beschreibung artikelname produktname titre nom libelle titulo nombre descripcion titolo
            nome descrizione descricao naam namn navn nazwa nazev ad baslik 名称 标题 商品名 タイトル 이름 название""",
        "categories": """
            category categories genre genres class classes tag tags topic topics department subject
            kategorie kategorien gattung warengruppe categorie rayon categoria categorias genero generos genere reparto
            kategori kategoria kategorija 类别 类目 カテゴリ ジャンル 카테고리 категория жанр""",
        "available": """
            available availability instock active enabled open isopen forsale sellable verfuegbar verfugbar lieferbar
            aktiv disponible disponibile disponivel leverbaar dostepny dostupny 有货 在庫""",
        "person": """
            age gender sex occupation job zip zipcode birth birthday birthdate yob alter geschlecht beruf plz sexe edad
            sexo eta geslacht wiek plec 年龄 性别 年齢 性別 возраст пол""",
    }.items()
}
"""What a column is -> the words by which its name says so, without accents."""
ID_WORDS = _set(
    "id ids no nr num number nummer numero key code identifier ident uuid guid hash token pseudo anonymous sk fk"
)
"""Words that say that a column identifies something."""

PURCHASE = _set(
    """
    purchase purchases buy bought order orders ordered sale sales sold transaction transactions invoice invoices
    checkout paid retail bestellung bestellungen verkauf verkaufe rechnung rechnungen kauf kaufe achat achats vente
    ventes commande commandes compra compras venta ventas pedido pedidos acquisto vendite ordine 购买 购入 покупка заказ
    """
)
"""Words of columns, files and events that are about purchases."""
EVENT_WEIGHTS: dict[str, tuple[float, frozenset[str]]] = {
    "purchases": (1.0, PURCHASE),
    "opinions": (1.0, _set("like love rating rate review favorite favourite favor fav star upvote follow")),
    "intentions": (
        0.5,
        _set("cart addtocart addcart basket wishlist save saved bookmark collect subscribe share download"),
    ),
    "views": (
        0.2,
        _set(
            """
            view views pv click clicks clicked visit open read play played listen listened watch watched stream detail
            pageview viewitem productview search impression
            """
        ),
    ),
}
"""Kind of behaviour -> (weight of one such event, the words by which events say it)."""
KNOWN = PURCHASE.union(*WORDS.values())
UNLIKED = _set(
    """
    dislike downvote unlike unfollow remove removed removefromcart cancel cancelled canceled return returned refund
    refunded unsubscribe skip skipped exposure shown
    """
)
"""Events that say nothing good of an item."""
MISSING = frozenset({"NULL", "null", "\\N", "NaN", "nan", "N/A", "n/a", "#N/A", "(null)"})
"""Texts by which programs write that there is no value."""
MISSING_NUMBER = MISSING | {"NA", "None", "none", "-", "--", "?", "undefined", "unknown"}
"""Texts that say so among numbers, times and ids; elsewhere they may be words, as `none` is in a list of jobs."""


def words_of(name: str) -> list[str]:
    """The words of a column's or a file's name: `CustomerID` -> customer, id; `rating:float` -> rating."""
    plain = without_accents(name.partition(":")[0])
    return [word.lower() for word in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+", plain)]


def match_of(name: str, role: str) -> float:
    """How well a name says a role: 1 where it is the name's noun, 0.4 where it is another part of it, else 0."""
    words, known = words_of(name), WORDS[role]
    nouns = [word for word in words if word not in ID_WORDS] or words
    nouns = [_without_id(word, known) for word in nouns]
    if not nouns:
        return 0.0
    joined = "".join(nouns)
    if nouns[-1] in known or joined in known or (len(nouns) == 2 and nouns[0] in known and nouns[1].isdigit()):
        return 1.0
    return 0.4 if any(word in known for word in nouns) else 0.0


def says_id(name: str) -> bool:
    """Whether a name says that its column identifies something: `item_id`, `visitorid`, but not `paid`."""
    words = words_of(name)
    return any(word in ID_WORDS or _without_id(word, KNOWN) != word for word in words)


def behaviour_of(event: str) -> str | None:
    """The kind of behaviour that an event's name says; None where it says none."""
    words = words_of(event)
    parts = {*words, "".join(words)}
    if parts & UNLIKED:
        return None
    return next((kind for kind, (_, known) in EVENT_WEIGHTS.items() if parts & known), None)


def _without_id(word: str, known: frozenset[str]) -> str:
    """`visitorid` -> `visitor`, where that is a known word."""
    shorter = re.sub(r"(id|nr|no|code|key)$", "", word)
    return shorter if word not in known and shorter in known else word
