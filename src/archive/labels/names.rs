//! What Gmail calls its own labels, in the languages that Takeout uses: data, gathered from exports that were published
//! and from Gmail's own pages. It refuses to be complete: an unknown name becomes a folder, so nothing is lost by it.

/// What a label of Gmail's own means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Inbox,
    Sent,
    Trash,
    Spam,
    Drafts,
    Opened,
    Unread,
    Starred,
    Important,
    Archived,
    Chat,
}

/// Categories in English, behind the word itself; small letters.
pub(super) const ENGLISH_CATEGORIES: [&str; 11] = [
    "personal",
    "primary",
    "social",
    "promotions",
    "updates",
    "forums",
    "travel",
    "purchases",
    "reservations",
    "finance",
    "receipts",
];

/// The word before a category; small letters.
#[rustfmt::skip]
pub(super) const CATEGORIES: [&str; 22] = [
    "category", "kategorie", "catégorie", "categoría", "categoria", "categorie", "kategori", "kategoria",
    "kategória", "kategorija", "luokka", "категория", "категорія", "κατηγορία", "カテゴリ", "カテゴリー", "카테고리",
    "类别", "類別", "分類", "danh mục", "หมวดหมู่",
];

/// Names by their meaning.
#[rustfmt::skip]
pub(super) const NAMES: [(Role, &[&str]); 11] = [
    (Role::Inbox, &[
        "Inbox", "Posteingang", "Boîte de réception", "Recibidos", "Bandeja de entrada", "Posta in arrivo",
        "Caixa de entrada", "Entrada", "Postvak IN", "Inkorgen", "Inkorg", "Indbakke", "Innboks",
        "Postilaatikko", "Saapuneet", "Odebrane", "Skrzynka odbiorcza", "Doručená pošta", "Doručené",
        "Beérkező levelek", "Mesaje primite", "Căsuță de e-mail", "Входящи", "Входящие", "Вхідні",
        "Εισερχόμενα", "Gelen Kutusu", "דואר נכנס", "البريد الوارد", "صندوق ورودی", "इनबॉक्स",
        "กล่องจดหมาย", "Hộp thư đến", "Kotak Masuk", "Peti masuk", "受信トレイ", "받은편지함", "收件箱", "收件匣",
        "Pristigla pošta", "Primljeno", "Примљене поруке", "Prejeto", "Gauti laiškai", "Gautieji",
        "Iesūtne", "Postkast", "Safata d'entrada", "Sarrera-ontzia",
    ]),
    (Role::Sent, &[
        "Sent", "Sent Mail", "Gesendet", "Envoyés", "Envoyé", "Messages envoyés", "Enviados", "Enviado",
        "Posta inviata", "Inviati", "Inviata", "E-mails enviados", "Verzonden", "Verzonden berichten",
        "Skickat", "Skickade mail", "Sendt", "Sendte", "Sendte e-mails", "Sendt e-post", "Lähetetyt",
        "Lähetetty", "Wysłane", "Odeslaná pošta", "Odeslané", "Odoslaná pošta", "Odoslané",
        "Elküldött levelek", "Elküldött", "Trimise", "Mesaje trimise", "Изпратени", "Отправленные",
        "Надіслані", "Απεσταλμένα", "Gönderilmiş Postalar", "Gönderilenler", "Gönderildi", "דואר יוצא",
        "נשלח", "البريد المُرسَل", "تم إرسالها", "ارسال شده", "भेजे गए", "จดหมายที่ส่งแล้ว", "ส่งแล้ว",
        "Thư đã gửi", "Đã gửi", "Terkirim", "Surat Terkirim", "Dihantar", "送信済み", "送信済みメール", "보낸편지함",
        "已发送", "已发邮件", "寄件備份", "已傳送", "Poslano", "Poslana pošta", "Послато", "Išsiųsti laiškai",
        "Išsiųsta", "Nosūtītās", "Saadetud", "Saadetud kirjad", "Enviats",
    ]),
    (Role::Trash, &[
        "Trash", "Bin", "Papierkorb", "Corbeille", "Papelera", "Cestino", "Lixeira", "Lixo", "Reciclagem",
        "Prullenbak", "Papperskorgen", "Papirkurv", "Papirkurven", "Roskakori", "Kosz", "Koš", "Kôš",
        "Kuka", "Lomtár", "Coș de gunoi", "Coşul de gunoi", "Кошче", "Корзина", "Кошик",
        "Κάδος απορριμμάτων", "Κάδος", "Çöp Kutusu", "Çöp", "אשפה", "المهملات", "سلة المهملات", "حذف شده",
        "ट्रैश", "ถังขยะ", "Thùng rác", "Sampah", "Tong Sampah", "ゴミ箱", "휴지통", "垃圾箱", "已删除邮件", "垃圾桶",
        "Smeće", "Otpad", "Отпад", "Koš za smeti", "Smetnjak", "Šiukšliadėžė", "Šiukšlinė", "Miskaste",
        "Atkritne", "Prügikast", "Paperera",
    ]),
    (Role::Spam, &[
        "Spam", "Junk", "Correo no deseado", "Pourriel", "Skräppost", "Søppelpost", "Uønsket e-post",
        "Roskaposti", "Roskapostit", "Спам", "Ανεπιθύμητα", "Ανεπιθύμητη αλληλογραφία", "ספאם", "דואר זבל",
        "الرسائل غير المرغوب فيها", "غير مرغوب فيها", "هرزنامه", "स्पैम", "จดหมายขยะ", "สแปม", "Thư rác",
        "迷惑メール", "스팸함", "스팸", "垃圾邮件", "垃圾郵件", "Neželjena pošta", "Непожељно", "Vsiljena pošta", "Šlamštas",
        "Surogātpasts", "Mēstules", "Rämpspost", "Brossa", "Correu brossa", "İstenmeyen", "Istenmeyen",
    ]),
    (Role::Drafts, &[
        "Drafts", "Draft", "Entwürfe", "Entwurf", "Brouillons", "Brouillon", "Borradores", "Borrador",
        "Bozze", "Bozza", "Rascunhos", "Rascunho", "Concepten", "Concept", "Utkast", "Kladder", "Kladde",
        "Luonnokset", "Luonnos", "Wersje robocze", "Szkice", "Koncepty", "Rozepsané", "Rozepsaná pošta",
        "Piszkozatok", "Piszkozat", "Schițe", "Mesaje nefinalizate", "Чернови", "Черновики", "Чернетки",
        "Πρόχειρα", "Taslaklar", "Taslak", "טיוטות", "المسودات", "مسودات", "پیش‌نویس‌ها", "ड्राफ़्ट",
        "จดหมายร่าง", "ร่าง", "Thư nháp", "Draf", "下書き", "임시보관함", "草稿", "Skice", "Nacrti", "Недовршене",
        "Osnutki", "Juodraščiai", "Melnraksti", "Mustandid", "Esborranys",
    ]),
    (Role::Opened, &[
        "Opened", "Read", "Geöffnet", "Ouvert", "Ouverts", "Messages ouverts", "Abierto", "Abiertos",
        "Aperto", "Aperti", "Aperta", "Aberto", "Abertos", "Aberta", "Geopend", "Öppnat", "Öppnade",
        "Öppnad", "Åbnet", "Åpnet", "Avattu", "Avatut", "Otwarte", "Otevřeno", "Otevřené", "Otvorené",
        "Megnyitva", "Megnyitott", "Deschise", "Deschis", "Отворени", "Отворено", "Открытые", "Открыто",
        "Відкриті", "Відкрито", "Ανοιγμένα", "Ανοίχτηκε", "Açıldı", "Açılan", "Açık", "נפתח", "נפתחו",
        "تم فتحها", "مفتوحة", "باز شده", "खोला गया", "खोले गए", "เปิดแล้ว", "Đã mở", "Dibuka",
        "Telah dibuka", "開封済み", "既読", "열람", "읽음", "열린 메일", "열어봄", "열림", "已打开", "已打開", "已開啟", "已读",
        "Otvoreno", "Odprto", "Atidaryti", "Atidaryta", "Atvērts", "Atvērtās", "Avatud", "Oberts", "Obert",
    ]),
    (Role::Unread, &[
        "Unread", "Ungelesen", "Non lu", "Non lus", "Messages non lus", "No leído", "No leídos",
        "Sin leer", "Da leggere", "Non letto", "Non letti", "Non letta", "Não lido", "Não lidos",
        "Não lida", "Não lidas", "Ongelezen", "Oläst", "Olästa", "Ulæst", "Ulæste", "Ulest", "Uleste",
        "Lukematta", "Lukematon", "Lukemattomat", "Nieprzeczytane", "Nepřečtené", "Nepřečteno",
        "Neprečítané", "Olvasatlan", "Necitite", "Necitit", "Непрочетени", "Непрочитанные", "Непрочитано",
        "Непрочитані", "Μη αναγνωσμένα", "Okunmamış", "Okunmadı", "לא נקראו", "לא נקרא", "غير مقروءة",
        "غير مقروء", "خوانده نشده", "अपठित", "ยังไม่ได้อ่าน", "Chưa đọc", "Belum dibaca", "Belum Dibaca",
        "未読", "읽지않음", "읽지 않음", "읽지 않은 메일", "안읽음", "안 읽음", "未读", "未讀", "Nepročitano", "Непрочитане",
        "Neprebrano", "Neskaityti", "Neskaityta", "Nelasīts", "Nelasītās", "Lugemata", "No llegits",
        "Sense llegir", "No llegit",
    ]),
    (Role::Starred, &[
        "Starred", "Markiert", "Suivis", "Messages suivis", "Suivi", "Destacados", "Destacado", "Speciali",
        "Speciale", "Com estrela", "Estrelados", "Com estrelas", "Met ster", "Stjärnmärkt", "Stjärnmärkta",
        "Stjernemarkeret", "Stjernemerket", "Stjernemerkede", "Tähdellä merkityt", "Tähdellä merkitty",
        "Oznaczone gwiazdką", "S hvězdičkou", "Hviezdičkou", "S hviezdičkou", "Csillagozott", "Cu stea",
        "Със звезда", "Помеченные", "С пометкой", "Із зірочкою", "Позначені зірочкою", "Με αστέρι",
        "Yıldızlı", "מסומן בכוכב", "مميزة بنجمة", "المميزة بنجمة", "ستاره‌دار", "तारांकित", "ที่ติดดาว",
        "ติดดาว", "Có gắn dấu sao", "Đã gắn dấu sao", "Gắn dấu sao", "Berbintang", "スター付き", "별표편지함", "별표",
        "已加星标", "加星标", "已加星號", "加星號", "Sa zvjezdicom", "Са звездицом", "Z zvezdico", "Pažymėta žvaigždute",
        "Ar zvaigznīti", "Tähega", "Tärniga", "Destacats",
    ]),
    (Role::Important, &[
        "Important", "Wichtig", "Importants", "Messages importants", "Importantes", "Importante",
        "Importanti", "Belangrijk", "Viktigt", "Vigtigt", "Vigtige", "Viktig", "Tärkeät", "Tärkeä",
        "Ważne", "Důležité", "Dôležité", "Fontos", "Важно", "Важни", "Важное", "Важные", "Важливі",
        "Важливо", "Σημαντικά", "Önemli", "חשוב", "חשובים", "مهمة", "مهم", "महत्वपूर्ण", "สำคัญ",
        "Quan trọng", "Penting", "重要", "중요", "중요편지함", "重要邮件", "重要郵件", "Važno", "Pomembno", "Svarbu",
        "Svarīgi", "Svarīgs", "Oluline", "Tähtis",
    ]),
    (Role::Archived, &[
        "Archived", "Archiviert", "Archivés", "Archivé", "Messages archivés", "Archivados", "Archivado",
        "Archiviati", "Archiviato", "Archiviata", "Arquivados", "Arquivado", "Arquivada", "Gearchiveerd",
        "Arkiverat", "Arkiverade", "Arkiveret", "Arkivert", "Arkistoitu", "Arkistoidut", "Zarchiwizowane",
        "Archivováno", "Archivované", "Archivált", "Archiválva", "Arhivate", "Arhivat", "Архивирани",
        "Архивировано", "Архивированные", "Заархивировано", "Архівовані", "Заархівовано", "Αρχειοθετημένα",
        "Αρχειοθετήθηκε", "Arşivlendi", "Arşivlenmiş", "בארכיון", "הועבר לארכיון", "مؤرشفة", "تمت أرشفتها",
        "بایگانی شده", "संग्रहीत", "เก็บถาวรแล้ว", "Đã lưu trữ", "Diarsipkan", "Diarkibkan", "アーカイブ済み",
        "アーカイブ", "보관처리됨", "보관됨", "보관", "보관 처리됨", "已归档", "已存档", "已封存", "Arhivirano", "Архивирано",
        "Suarchyvuota", "Archyvuoti", "Arhivēts", "Arhivētās", "Arhiivitud", "Arxivats", "Arxivat",
    ]),
    (Role::Chat, &[
        "Chat", "Chats", "Conversaciones", "Tchat", "Discussions", "Bate-papos", "Bate-papo", "Chatter",
        "Czaty", "Czat", "Csevegések", "Chaty", "Чат", "Чаты", "Чати", "Συνομιλίες", "Sohbetler", "Sohbet",
        "צ'אטים", "צ'אט", "المحادثات", "دردشة", "चैट", "แชท", "Trò chuyện", "Obrolan", "Sembang", "チャット",
        "채팅", "聊天", "聊天记录", "即時通訊", "Razgovori", "Klepeti", "Pokalbiai", "Tērzēšana", "Vestlused", "Xats",
        "Keskustelut",
    ]),
];
