"""The countries and tax ids that forms offer."""

from __future__ import annotations

COUNTRIES = [
    ("", ""),
    *[("AR", "Argentina"), ("AU", "Australia"), ("AT", "Austria"), ("BE", "Belgium"), ("BR", "Brazil")],
    *[("BG", "Bulgaria"), ("CA", "Canada"), ("CL", "Chile"), ("CN", "China"), ("CO", "Colombia"), ("HR", "Croatia")],
    *[("CY", "Cyprus"), ("CZ", "Czechia"), ("DK", "Denmark"), ("EG", "Egypt"), ("EE", "Estonia"), ("FI", "Finland")],
    *[("FR", "France"), ("DE", "Germany"), ("GR", "Greece"), ("HK", "Hong Kong"), ("HU", "Hungary")],
    *[("IS", "Iceland"), ("IN", "India"), ("ID", "Indonesia"), ("IE", "Ireland"), ("IL", "Israel"), ("IT", "Italy")],
    *[("JP", "Japan"), ("KE", "Kenya"), ("KR", "South Korea"), ("LV", "Latvia"), ("LT", "Lithuania")],
    *[("LU", "Luxembourg"), ("MY", "Malaysia"), ("MT", "Malta"), ("MX", "Mexico"), ("NL", "Netherlands")],
    *[("NZ", "New Zealand"), ("NG", "Nigeria"), ("NO", "Norway"), ("PE", "Peru"), ("PH", "Philippines")],
    *[("PL", "Poland"), ("PT", "Portugal"), ("RO", "Romania"), ("SA", "Saudi Arabia"), ("SG", "Singapore")],
    *[("SK", "Slovakia"), ("SI", "Slovenia"), ("ZA", "South Africa"), ("ES", "Spain"), ("SE", "Sweden")],
    *[("CH", "Switzerland"), ("TW", "Taiwan"), ("TH", "Thailand"), ("TR", "Türkiye"), ("UA", "Ukraine")],
    *[("AE", "United Arab Emirates"), ("GB", "United Kingdom"), ("US", "United States"), ("VN", "Vietnam")],
]
TAX_IDS = [
    ("", "Choose"),
    ("eu_vat", "EU VAT"),
    ("gb_vat", "GB VAT"),
    ("us_ein", "US EIN"),
    ("au_abn", "AU ABN"),
    ("ca_bn", "CA BN"),
    ("ch_vat", "CH VAT"),
    ("in_gst", "IN GST"),
    ("no_vat", "NO VAT"),
    ("nz_gst", "NZ GST"),
]
