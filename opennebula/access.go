package opennebula

// Access is who owns an object of oned's and what others may do with it.
type Access struct {
	UID, GID int // None where the document does not tell
	// Whether owner, group and others may use and manage it.
	OwnerUse, GroupUse, OtherUse          bool
	OwnerManage, GroupManage, OtherManage bool
}

// oneadminID is the id of the user oneadmin and of its group.
const oneadminID = 0

func readAccess(f *fields) Access {
	a := Access{UID: f.number(None, "UID"), GID: f.number(None, "GID")}
	of := fields{element: f.element.SelectElement("PERMISSIONS"), object: f.object}
	if of.element == nil {
		return a
	}
	a.OwnerUse, a.GroupUse, a.OtherUse = of.yes("OWNER_U"), of.yes("GROUP_U"), of.yes("OTHER_U")
	a.OwnerManage, a.GroupManage, a.OtherManage = of.yes("OWNER_M"), of.yes("GROUP_M"), of.yes("OTHER_M")
	return a
}

// MayUse says whether the owner of another object may use this one: by the permissions in
// the documents, which know neither further groups nor access control lists.
func (a Access) MayUse(who Access) bool { return a.may(who, a.OwnerUse, a.GroupUse, a.OtherUse) }

// MayManage says whether the owner of another object may manage this one.
func (a Access) MayManage(who Access) bool {
	return a.may(who, a.OwnerManage, a.GroupManage, a.OtherManage)
}

func (a Access) may(who Access, owner, group, other bool) bool {
	switch {
	case who.UID < 0 || who.GID < 0 || a.UID < 0:
		return false // the documents do not tell
	case who.UID == oneadminID || who.GID == oneadminID:
		return true
	case who.UID == a.UID:
		return owner
	case who.GID == a.GID && group:
		return true
	}
	return other
}
